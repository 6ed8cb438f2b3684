"""A device that computes later than it is told to: what the engine measures is what the device does."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
import torch

from tests.engines import suite
from tests.engines.continuous.conftest import engine_of
from tests.support.clients import until
from tests.support.late_device import LAYER_S, TOKEN_S, Late
from worker.engines.continuous.scheduler import UNNOTICED_S
from worker.engines.loading.devices import Devices
from worker.engines.loading.layer_progress import AHEAD, LayerProgress

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
