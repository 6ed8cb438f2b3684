"""Whether a real device waits for pictures to be prepared: a worker with its claims, attempts and decoders.

The line of `benchmarks.preparing`, but the engine computes, and its own clock says when it has nothing to.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import torch

from benchmarks.frame.services import ROOT, record_server
from benchmarks.gpu.device_load import DeviceLoad
from benchmarks.preparing import families
from benchmarks.preparing.clock_engine import Device
from benchmarks.preparing.probe import WARM, Bench, Part
from shared.cgroup import processors
from shared.models import Model
from shared.result import Piece
from worker.claim_loop import Lookahead
from worker.engines.base import Engine, Finish, Row
from worker.engines.continuous import loop
from worker.engines.continuous.engine import ContinuousEngine
from worker.engines.loading.loaded import LoadedModel
from worker.engines.progress import ProgressClock

LARGE = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
}
"""Of the language model: 1.1 billion parameters."""
UNUSED = Device(1, 1, 1)


def _numbers() -> None:
    LoadedModel.stop_at_bytes = lambda self: None  # type: ignore[method-assign] # noqa: ARG005


def _one_ahead() -> None:
    Lookahead.prepare = lambda *_: False  # type: ignore[method-assign]


WAYS: dict[str, Callable[[], None]] = {
    "as_served": lambda: None,
    "pixels_as_numbers": _numbers,
    "one_prompt_ahead": _one_ahead,
}
"""What is left out for comparison: pixels that travel as bytes, several prompts prepared at once."""


class BusyClock(ProgressClock):
    """Adds up the time in which there was something to compute."""

    def __init__(self) -> None:
        super().__init__()
        self._busy_s, self._began = 0.0, 0.0

    def start(self) -> None:
        super().start()
        self._began = time.perf_counter()

    def rest(self) -> None:
        super().rest()
        self._busy_s, self._began = self.busy_s, 0.0

    @property
    def busy_s(self) -> float:
        return self._busy_s + (time.perf_counter() - self._began if self._began else 0.0)


class DeviceEngine(ContinuousEngine):
    """`first` is called with a row as its first text comes."""

    def __init__(self, model: Model, first: Callable[[Row], None]) -> None:
        super().__init__(model)
        self._first = first

    def start(self, loaded: LoadedModel) -> None:
        if loaded.renderer.pixels is None:
            loaded.stop_at_bytes()
        super().start(loaded)

    @property
    def busy_s(self) -> float:
        clock: Any = self._loop.progress
        return float(clock.busy_s)

    def generate_all(self, rows: Sequence[Row]) -> list[Finish]:
        return super().generate_all([replace(row, emit=self._watched(row)) for row in rows])

    def _watched(self, row: Row) -> Callable[[Piece], None]:
        waiting = [row]

        def emit(piece: Piece) -> None:
            if waiting:
                self._first(waiting.pop())
            row.emit(piece)

        return emit


class DeviceBench(Bench):
    def new_engine(self) -> Engine:
        engine = DeviceEngine(self.model, lambda row: self.line.arrived(row, engine.busy_s))
        return engine

    def figures(self) -> dict[str, Any]:
        self.line.leases = self.worker.context.leases
        self.line.wait(self.submit(WARM))
        with DeviceLoad(self.row["device"]) as load:
            figures = self.throughput()
        return figures | {"prompt_tokens": self.line.tokens, "device_busy": load.share}


def make_model(*, quick: bool) -> Path:
    """Where it lies, made where it is not there yet."""
    folder = ROOT / "data" / "models" / ("pages-tiny" if quick else "pages")
    if not folder.exists():
        part = folder.with_suffix(".part")
        families.save("llava", part) if quick else families.save("llava", part, torch.bfloat16, **LARGE)
        part.rename(folder)
    return folder


def measure(way: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    WAYS[way]()
    torch.set_num_threads(1)
    families.stand_in()
    loop.ProgressClock = BusyClock  # type: ignore[attr-defined]
    size, requests = ((640, 480), 8) if options.quick else ((1275, 1650), 96)
    part = Part("llava", size, processors(), UNUSED, requests)
    DeviceBench.row = MappingProxyType({"engine": "continuous", "device": options.device})
    with record_server() as records, TemporaryDirectory() as folder:
        bench = DeviceBench(part, make_model(quick=options.quick), Path(folder), records.settings)
        yield {"way": way, "requests": requests} | bench.figures()
