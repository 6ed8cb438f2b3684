"""The three loads: how many callers ask for how much, and when."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.simulation import Piece, Simulation
from shared.job import Priority
from shared.store.script import Store

ENGINES, ROWS, SLOTS = 2, 2, 4
"""Slots as `-c rows + 2` gives them."""
MEAN_S, SPREAD = 1.0, 0.6
"""Mean and spread of the lognormal service time: nine in ten between 0.3 and 2.2 s."""
CAPACITY = ENGINES * ROWS / MEAN_S
CALLERS = tuple(f"caller-{n}" for n in range(8))
CLASSES: tuple[Priority, ...] = ("interactive", "normal", "batch")
CLASS_WEIGHTS = (1, 8, 1)


@dataclass(frozen=True)
class Load:
    """`arrivals` are the moments at which jobs come, in seconds, for a mean use of the rows of about 0.8."""

    name: str
    told: str
    arrivals: Callable[[random.Random, int], Iterator[float]]


def _steady(dice: random.Random, jobs: int) -> Iterator[float]:
    at = 0.0
    for _ in range(jobs):
        at += dice.expovariate(0.85 * CAPACITY)
        yield at


def _bursty(dice: random.Random, jobs: int) -> Iterator[float]:
    """Half of the jobs come one by one, half in bursts of about forty."""
    at, left = 0.0, 0
    for _ in range(jobs):
        if left:
            left -= 1
            at += dice.expovariate(50)
        else:
            at += dice.expovariate(0.4 * CAPACITY)
            left = round(dice.expovariate(1 / 40)) if dice.random() < 1 / 40 else 0
        yield at


def _growing(dice: random.Random, jobs: int) -> Iterator[float]:
    """From three tenths of what the rows can do to one and a third of it: the line grows without end."""
    at = 0.0
    for number in range(jobs):
        at += dice.expovariate((0.3 + number / jobs) * CAPACITY)
        yield at


LOADS = (
    Load("steady", "Poisson, 85 % of the rows", _steady),
    Load("bursty", "half one by one, half in bursts of about 40", _bursty),
    Load("growing", "Poisson, from 30 % to 130 % of the rows", _growing),
)


def play(store: Store, load: Load, *, jobs: int, seed: int) -> list[Piece]:
    """All jobs of a load in the order in which they came, each begun."""
    dice = random.Random(f"{load.name} {seed}")  # noqa: S311
    store.client.flushdb()
    queue = Simulation(store, dice, engines=ENGINES, rows=ROWS, slots=SLOTS)
    weights = [1 / (n + 1) for n in range(len(CALLERS))]
    for at in load.arrivals(dice, jobs):
        piece = Piece(
            caller=dice.choices(CALLERS, weights)[0],
            priority=dice.choices(CLASSES, CLASS_WEIGHTS)[0],
            cost=64,
            service_s=dice.lognormvariate(math.log(MEAN_S) - SPREAD**2 / 2, SPREAD),
            submitted_s=at,
        )
        queue.at(at, partial(queue.submit, piece))
    queue.run_until(lambda: len(queue.pieces) == jobs and queue.waiting == 0)
    return list(queue.pieces.values())
