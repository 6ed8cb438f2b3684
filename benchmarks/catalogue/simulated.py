"""Fifty models on four devices for half an hour of a clock, the same calls under each policy."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.catalogue.machine import Call, CatalogueModel, Machine
from benchmarks.catalogue.policies import policies
from benchmarks.frame.statistics import percentiles

SEED = 1
MODELS, DEVICES = 50, 4
DEVICE_GB = 80
MODEL_GB = (6, 40)
GB_PER_S, START_S, UNLOAD_S, ROWS = 2, 2.0, 1.0, 8
BROKEN = CatalogueModel("broken", 20, 12.0, UNLOAD_S, ROWS, fails=True)
"""It cannot be loaded, and comes first in the catalogue."""
LASTS_S = 1800
SERVICE_S, SPREAD = 2.0, 0.6
"""Mean and spread of the lognormal service time."""
BURST, BURST_PER_S = 20, 2.0
"""Calls of a burst on average, all for one model."""


@dataclass(frozen=True)
class Load:
    """With `bursts` half of those who come call once, the others again and again for a while."""

    per_s: float
    bursts: bool

    @property
    def name(self) -> str:
        return f"{'bursts' if self.bursts else 'Poisson'}, {self.per_s:g}/s"


LOADS = [Load(per_s, bursts) for bursts in (False, True) for per_s in (0.5, 2, 8)]


def zipf(count: int) -> list[float]:
    return [1 / (place + 1) for place in range(count)]


def catalogue() -> list[CatalogueModel]:
    dice = random.Random(f"models {SEED}")  # noqa: S311
    sizes = [math.exp(dice.uniform(*map(math.log, MODEL_GB))) for _ in range(MODELS)]
    return [
        CatalogueModel(f"model-{at}", size, START_S + size / GB_PER_S, UNLOAD_S, ROWS)
        for at, size in enumerate(sizes)
    ]


def calls(load: Load, names: Sequence[str]) -> list[Call]:
    """In the order of their arrival, by Zipf's law."""
    dice = random.Random(f"{load.name} {SEED}")  # noqa: S311
    mean = (1 + BURST) / 2 if load.bursts else 1
    arrived, at = list[Call](), 0.0
    while (at := at + dice.expovariate(load.per_s / mean)) < LASTS_S:
        (name,) = dice.choices(names, zipf(len(names)))
        arrived += [_call(dice, name, moment) for moment in _visit(dice, load, at)]
    return sorted(arrived, key=lambda call: call.arrived_s)


def _visit(dice: random.Random, load: Load, at: float) -> Iterator[float]:
    bursts = load.bursts and dice.random() < 0.5
    for _ in range(max(1, round(dice.expovariate(1 / BURST))) if bursts else 1):
        yield at
        at += dice.expovariate(BURST_PER_S)


def _call(dice: random.Random, name: str, at: float) -> Call:
    return Call(name, at, dice.lognormvariate(math.log(SERVICE_S) - SPREAD**2 / 2, SPREAD))


def simulate(load: Load) -> dict[str, Any]:
    """Figures by policy."""
    models = catalogue()
    asked = calls(load, [model.name for model in models])
    figures = {}
    for name, policy in policies().items():
        machine = Machine({f"cuda:{n}": DEVICE_GB for n in range(DEVICES)}, [BROKEN, *models], policy)
        served = [replace(call) for call in asked]
        machine.serve(served)
        figures[name] = {
            "calls": len(served),
            "wait_s": percentiles([call.waited_s for call in served], "p50", "p95", "p100", digits=1),
            "swaps_per_h": round(machine.loads / machine.now_s * 3600),
            "loading_share": round(machine.loading_s / DEVICES / machine.now_s, 3),
            "loading_s": round(machine.loading_s),
            "lasted_s": round(machine.now_s),
            "failed_loads": sum(failures for failures, _ in machine.retries.values()),
            "evictions_by_broken": sum(BROKEN.name in reason for reason in machine.unloaded),
        }
    return figures
