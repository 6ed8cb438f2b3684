"""A device that computes later than it was asked: what the engine measures is what the device does.

The CPU computes at once, but the clock that the engine reads shows what the device would take.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.engines import suite
from tests.engines.continuous.conftest import engine_of
from tests.support.clients import until
from worker.engines.continuous.loop import Loop
from worker.engines.continuous.scheduler import UNNOTICED_S
from worker.engines.loading.devices import AHEAD, Devices, LayerProgress

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


TEXT = "tell me about the picture and the colours and shapes " * 60


@pytest.fixture
def late(fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch) -> Late:
    engine: Any = engine_of(fresh)
    network = engine._loaded.network
    found = Late(monkeypatch, network.model.language_model.layers)
    found.put_under(engine._loop, network)
    return found


@pytest.mark.parametrize("mixes", [False, True], ids=["between steps", "along with steps"])
def test_long_prompts_hold_up_nobodys_stream(fresh: suite.Harness, late: Late, mixes: bool) -> None:
    """On an idle processor passes take no time to queue, so that ever larger ones would seem to fit."""
    loop, seen, come = engine_of(fresh)._loop, list[float](), (20, 40, 60)
    loop._mixes = mixes
    with ThreadPoolExecutor() as pool:

        def emit(_: Any) -> None:
            seen.append(late.now)
            if len(seen) in come:
                pool.submit(lambda: fresh.ask(f"{len(seen)} {TEXT}", max_new_tokens=1))
                until(lambda: len(loop._line) > 0)

        asked: dict[str, Any] = {"temperature": 4.0, "seed": 1, "max_new_tokens": 90, "min_new_tokens": 90}
        fresh.engine.generate(fresh.row("Hello", emit=emit, **asked))
    waits = [after - before for before, after in pairwise(seen)]
    assert max(waits) < 2 * UNNOTICED_S
    assert len([wait for wait in waits if wait > UNNOTICED_S / 2]) > len(come), "they came in between"


def test_layers_that_are_only_queued_are_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leaves in the midst of a long prompt is let go there, and whoever computes one is not hung."""
    network = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(8)))
    late, left = Late(monkeypatch, network), list[float]()
    tokens = 1000
    with LayerProgress(network).after_each(lambda: left.append(late.done - late.now)):
        network(torch.zeros(1, tokens, 2))
    assert len(left) == len(network)
    assert max(left) < (AHEAD + 1) * (LAYER_S + TOKEN_S * tokens)


def test_a_network_that_is_all_offloaded_is_waited_for_where_it_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network: Any = torch.nn.Linear(2, 2, device="meta")
    network.device, network.hf_device_map = torch.device("meta"), {"": "cpu"}
    late = Late(monkeypatch, [])
    late.done = 5.0
    Devices(network).wait()
    assert late.now == 5.0
