"""A GPU's captured steps answer as the model does alone; here what is captured is computed call by call."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from shared.models import Model
from tests.engines.continuous.conftest import crowded, engine_of, loaded
from tests.support.device import DEVICE
from tests.support.families import FAMILIES
from tests.support.families.family import Family, called
from worker.engines.base import Finish
from worker.engines.continuous import runner
from worker.engines.continuous import verify as proof
from worker.engines.continuous.kv_cache import KVLayer
from worker.engines.continuous.runner import Runner, Step
from worker.engines.continuous.verify import verify
from worker.engines.loading.loaded import LoadedModel

COMPUTED = {"qwen3.5", "lfm2-vl", "llama4"}
"""They have recurrent states, or a temperature of the longest row."""
CALL_BY_CALL = "steps of this model are computed call by call: "

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def recorded(step: Step, *_: Any) -> None:
    step.compute()
    step.graph = step


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "cpu":
        monkeypatch.setattr(proof, "capturable", lambda _: True)
        monkeypatch.setattr(Runner, "_stream", None)
        monkeypatch.setattr(Runner, "_pool", None)
        monkeypatch.setattr(Step, "capture", recorded)
        monkeypatch.setattr(Step, "replay", Step.compute)


@pytest.mark.parametrize("built", [one for one in FAMILIES if one.name != "mllama"], ids=called)
def test_a_family_is_captured_where_its_cache_is_of_columns_alone(
    built: Family, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = built.folder(tmp_path_factory.getbasetemp())
    certificate = verify(LoadedModel(Model(id=f"tiny/{built.name}", source=str(folder))), reuse=False)
    assert certificate.captured is (built.name not in COMPUTED)


def columns_not_in_use_are_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Step, "seen", property(lambda step: (step._columns >= 0) & (step._starts[:, None] >= 0)))


def positions_are_those_of_the_capture(patch: pytest.MonkeyPatch) -> None:
    write = Step.write

    def once(step: Step, tokens: Any, positions: torch.Tensor, extras: Any) -> None:
        first = vars(step).setdefault("first", positions[..., :1, :])
        write(step, tokens, first.expand_as(positions), extras)

    patch.setattr(Step, "write", once)


def what_is_written_lands_in_one_column(patch: pytest.MonkeyPatch) -> None:
    update = KVLayer.update

    def stuck(layer: KVLayer, *given: Any, **named: Any) -> Any:
        if layer._table.fixed:
            layer._table.column.fill_(1)
        return update(layer, *given, **named)

    patch.setattr(KVLayer, "update", stuck)


def memory_behind_the_rows_holds_nonsense(patch: pytest.MonkeyPatch) -> None:
    moved = KVLayer._moved

    def dirty(layer: KVLayer, old: torch.Tensor, rows: int, columns: int, shift: int) -> Any:
        memory = moved(layer, old, rows, columns, shift)
        memory[:, :, layer._table.end + shift :] = torch.nan
        return memory

    patch.setattr(KVLayer, "_moved", dirty)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "flaw",
    [
        columns_not_in_use_are_seen,
        positions_are_those_of_the_capture,
        what_is_written_lands_in_one_column,
        memory_behind_the_rows_holds_nonsense,
    ],
)
def test_a_model_whose_captured_steps_would_answer_otherwise_goes_without(
    flaw: Callable[[pytest.MonkeyPatch], None],
    shipped: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crowd = proof._crowd

    def captured(*given: Any) -> Any:
        with monkeypatch.context() as patch:
            if len(given) > 4:
                flaw(patch)
            return crowd(*given)

    monkeypatch.setattr(proof, "_crowd", captured)
    with caplog.at_level(logging.WARNING):
        assert not verify(shipped, reuse=False).captured
    assert CALL_BY_CALL in caplog.text


def test_code_that_cannot_be_captured_is_found_at_load(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A graph may read no number from the device; a failed one must leave the memory usable."""
    forward = shipped.network.lm_head.forward

    def reading(states: torch.Tensor) -> torch.Tensor:
        states.sum().item()
        logits: torch.Tensor = forward(states)
        return logits

    def refused(*_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    if DEVICE == "cpu":
        monkeypatch.setattr(Step, "capture", refused)
    else:
        monkeypatch.setattr(shipped.network.lm_head, "forward", reading)
    with caplog.at_level(logging.WARNING):
        assert not verify(shipped, reuse=False).captured
    assert CALL_BY_CALL in caplog.text
    monkeypatch.undo()
    if DEVICE != "cpu":
        torch.cuda.empty_cache()
        assert verify(shipped, reuse=False).captured


def test_answers_that_come_and_go_are_the_same_with_captured_steps_and_memory_for_a_graph_may_be_out(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness = loaded()
    assert "not along with steps (captured ones are faster)" in harness.engine.reason
    steps, capture = engine_of(harness)._loop._runner, Step.capture
    lacking = [torch.OutOfMemoryError(), RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED")]

    def scarce(step: Step, *where: Any) -> None:
        if lacking:
            raise lacking.pop()
        capture(step, *where)

    monkeypatch.setattr(Step, "capture", scarce)
    monkeypatch.setattr(runner, "PAUSE", 3)
    assert crowded(harness) == answers
    assert not lacking
    assert "no memory to capture steps" in caplog.text
    assert steps.captures
    assert steps.replays
