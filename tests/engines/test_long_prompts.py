"""A prompt that takes minutes on a slow processor: who asks for it may leave, and its worker is not hung."""

from pathlib import Path
from typing import Any

import pytest
import torch

from shared.models import Model
from tests.engines import suite
from worker.engines.base import Cancelled
from worker.engines.continuous.pace import FIRST, Pace
from worker.engines.continuous.prefill import Prefill
from worker.engines.pulse import Pulse
from worker.engines.registry import create
from worker.engines.stacks import Stacks

TINY = Path(__file__).parents[2] / "models" / "tiny"
LONG = "What do we see in this image? " * 40


ENGINES = ("continuous", "sequential")


def loaded(engine: str) -> suite.Harness:
    row = {"id": "test/tiny", "engine": engine, "source": str(TINY), "max_new_tokens": 4}
    return suite.Harness(create(Model.model_validate(row)).load())


def network_of(harness: suite.Harness) -> Any:
    engine: Any = harness.engine
    return engine._loaded.network


@pytest.mark.parametrize("engine", ENGINES)
def test_whoever_leaves_in_the_midst_of_a_long_prompt_is_let_go_there(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, computed = loaded(engine), list[int]()
    row = harness.row(LONG)

    def leave(_: torch.nn.Module, __: Any, output: torch.Tensor) -> None:
        computed.append(output.shape[1])
        row.cancel.set()

    monkeypatch.setattr(Pace, "patient", False)
    first = network_of(harness).model.language_model.layers[0]
    with first.register_forward_hook(leave), pytest.raises(Cancelled):
        harness.engine.generate(row)
    assert len(computed) == 1, "nothing was computed behind that"
    if engine == "continuous":
        assert computed[0] < 2 * FIRST < row.prompt.tokens
    assert harness.ask("Hello")[0].ids


@pytest.mark.parametrize("pictures", [0, 1], ids=["a text", "a picture"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_is_seen_to_live_at_each_layer_of_a_pass(
    engine: str, monkeypatch: pytest.MonkeyPatch, pictures: int
) -> None:
    """It gives up where its engine makes no progress, and the next one would at the same request."""
    ticks: list[str] = []
    monkeypatch.setattr(Pulse, "tick", lambda _: ticks.append("tick"))
    harness = loaded(engine)
    ticks.clear()
    asked = harness.row("Hello", [suite.picture()] * pictures, max_new_tokens=1)
    harness.engine.generate(asked)
    network = network_of(harness)
    stacks = [network.model.language_model.layers, network.model.vision_tower.encoder.layers][: 1 + pictures]
    assert len(ticks) >= sum(len(stack) for stack in stacks) + 1


def test_a_layer_of_many_experts_is_one() -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return torch.stack([expert(values) for expert in self.experts]).sum(0)

    layers, seen = torch.nn.ModuleList([Layer(), Layer()]), list[str]()
    with Stacks(torch.nn.ModuleDict({"layers": layers})).after_each(lambda: seen.append("layer")):
        for layer in layers:
            layer(torch.zeros(1, 2))
    assert len(seen) == 2


def test_a_prompt_cut_because_it_is_long_is_answered_as_uncut(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    advance = Prefill.advance

    def logged(self: Prefill, tokens: int | None = None) -> Any:
        begun.append(self.done)
        return advance(self, tokens)

    monkeypatch.setattr(Prefill, "advance", logged)
    monkeypatch.setattr("worker.engines.continuous.pace.LONGEST_S", 0)
    cut, whole = (loaded(engine).ask(LONG)[0] for engine in ENGINES)
    assert any(begun)
    assert cut.ids == whole.ids
