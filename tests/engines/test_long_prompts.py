"""A prompt that takes minutes on a slow processor: who asks for it may leave, and its worker is not hung."""

import logging
from functools import cache
from typing import Any

import pytest

from tests.engines import suite
from tests.engines.continuous.conftest import loaded
from worker.engines.base import Cancelled, ProgressClock

ENGINES = ("continuous", "sequential")


once = cache(loaded)


def network_of(harness: suite.Harness) -> Any:
    engine: Any = harness.engine
    return engine._loaded.network


@pytest.mark.parametrize("pictures", [0, 2], ids=["a text", "pictures"])
@pytest.mark.parametrize("engine", ENGINES)
def test_whoever_leaves_in_the_midst_of_a_long_prompt_is_let_go_there(
    engine: str, pictures: int, caplog: pytest.LogCaptureFixture
) -> None:
    harness, computed = once(engine=engine, max_new_tokens=4), list[str]()
    model = network_of(harness).model
    row = harness.row("Hello", [suite.picture(colour) for colour in ("red", "blue")[:pictures]], scope=None)

    def leave(*_: Any) -> None:
        row.cancel.set()

    first = (model.vision_tower.encoder if pictures else model.language_model).layers[0]
    last = model.language_model.layers[-1]
    with (
        first.register_forward_hook(leave),
        last.register_forward_hook(lambda *_: computed.append("to its end")),
        pytest.raises(Cancelled),
    ):
        harness.engine.generate(row)
    assert computed == []
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert harness.ask("Hello", scope=None)[0].ids


@pytest.mark.parametrize("pictures", [0, 1], ids=["a text", "a picture"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_is_seen_to_live_at_each_layer_of_a_pass(
    engine: str, monkeypatch: pytest.MonkeyPatch, pictures: int
) -> None:
    """It gives up where its engine makes no progress, and the next one would at the same request."""
    harness, ticks = once(engine=engine, max_new_tokens=4), list[str]()
    monkeypatch.setattr(ProgressClock, "tick", lambda _: ticks.append("tick"))
    asked = harness.row("Hello", [suite.picture()] * pictures, scope=None, max_new_tokens=1)
    harness.engine.generate(asked)
    network = network_of(harness)
    stacks = [network.model.language_model.layers, network.model.vision_tower.encoder.layers][: 1 + pictures]
    assert len(ticks) >= sum(len(stack) for stack in stacks) + 1
