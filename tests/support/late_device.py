"""A device that computes later than it is told to, as a GPU does, in a time that passes only for it.

The CPU computes at once, but the clock that the engine reads shows what the device would take.
"""

import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from worker.engines.continuous.loop import Loop
from worker.engines.loading.devices import Devices
from worker.engines.loading.layer_progress import LayerProgress

# What a layer takes to be queued, to begin, and for each token.
QUEUE_S, LAYER_S, TOKEN_S = 0.002, 0.003, 0.0001
READS = ("tolist", "item", "numpy", "__int__", "__float__", "__bool__")


class Late:
    """Stands in for the accelerator that torch knows, and computes the calls of `layers`."""

    def __init__(self, patch: pytest.MonkeyPatch, layers: Iterable[torch.nn.Module]) -> None:
        self.now = self.done = 0.0
        self._patch = patch
        for layer in layers:
            layer.register_forward_hook(self._queue)
        patch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cpu"))
        patch.setattr(torch.accelerator, "current_stream", lambda _: self)
        patch.setattr(torch.accelerator, "synchronize", lambda _: self._wait(self.done))

    def put_under(self, engine: Loop, network: torch.nn.Module) -> None:
        """An engine that was loaded on the CPU."""
        for name in READS:
            self._patch.setattr(torch.Tensor, name, self._read(getattr(torch.Tensor, name), engine._thread))
        self._patch.setattr(engine._pace, "clock", self._clock)
        self._patch.setattr(engine, "_devices", Devices(network))
        self._patch.setattr(engine, "_stacks", LayerProgress(network))

    def record_event(self) -> Any:
        done = self.done
        return SimpleNamespace(synchronize=lambda: self._wait(done))

    def _clock(self) -> float:
        """What is done without the device takes hardly any time, but no clock stands still."""
        self.now += 1e-6
        return self.now

    def _queue(self, _: Any, given: Any, __: Any) -> None:
        rows, tokens = given[0].shape[:2]
        self.now += QUEUE_S
        self.done = max(self.done, self.now) + LAYER_S + TOKEN_S * rows * tokens

    def _read(self, read: Any, thread: threading.Thread) -> Any:
        def waiting(tensor: Any, *rest: Any) -> Any:
            if threading.current_thread() is thread:
                self._wait(self.done)
            return read(tensor, *rest)

        return waiting

    def _wait(self, until: float) -> None:
        self.now = max(self.now, until)
