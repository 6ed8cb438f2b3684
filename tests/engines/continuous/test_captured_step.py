"""A GPU's captured steps answer as the model does alone; here what is captured is computed call by call."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.engines.continuous.conftest import crowded, engine_of, loaded
from tests.engines.continuous.test_verify_batching import family
from tests.support.device import DEVICE
from tests.support.families import FAMILIES
from tests.support.families.family import Family, called
from worker.engines.base import Finish
from worker.engines.continuous import captured_step
from worker.engines.continuous import engine as continuous
from worker.engines.continuous.captured_step import CapturedSteps, FixedLayer, FixedStep
from worker.engines.continuous.kv_cache import AlignedLayer
from worker.engines.continuous.verify import batching
from worker.engines.continuous.verify.batching import verify
from worker.engines.loading.loaded import LoadedModel

COMPUTED = {"qwen3.5", "lfm2-vl", "llama4"}
"""They have recurrent states, or a temperature of the longest row."""

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def always(_network: Any) -> bool:
    return True


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "cpu":
        monkeypatch.setattr(batching, "capturable", always)
        monkeypatch.setattr(CapturedSteps, "_stream", None)
        monkeypatch.setattr(CapturedSteps, "_pool", None)
        monkeypatch.setattr(FixedStep, "capture", lambda self, *_: self.compute())
        monkeypatch.setattr(FixedStep, "replay", FixedStep.compute)


@pytest.mark.parametrize("built", [one for one in FAMILIES if one.name != "mllama"], ids=called)
def test_a_family_is_captured_where_its_cache_is_of_columns_alone(
    built: Family, tmp_path_factory: pytest.TempPathFactory
) -> None:
    certificate = verify(family(built.name, tmp_path_factory.getbasetemp()))
    assert certificate.captured is (built.name not in COMPUTED)


def columns_not_in_use_are_seen(patch: pytest.MonkeyPatch) -> None:
    write = FixedStep.write

    def careless(self: FixedStep, *what: Any) -> None:
        write(self, *what)
        self._starts.zero_()

    patch.setattr(FixedStep, "write", careless)


def positions_are_those_of_the_capture(patch: pytest.MonkeyPatch) -> None:
    write = FixedStep.write

    def once(self: FixedStep, tokens: Any, positions: torch.Tensor, *rest: Any) -> None:
        self._first = getattr(self, "_first", positions)  # type: ignore[attr-defined]
        write(self, tokens, self._first[..., :1, :].expand_as(positions), *rest)  # type: ignore[attr-defined]

    patch.setattr(FixedStep, "write", once)


def what_is_written_lands_in_one_column(patch: pytest.MonkeyPatch) -> None:
    update = FixedLayer.update

    def stuck(self: FixedLayer, *states: Any) -> Any:
        self._column.fill_(1)
        return update(self, *states)

    patch.setattr(FixedLayer, "update", stuck)


def memory_behind_the_rows_holds_nonsense(patch: pytest.MonkeyPatch) -> None:
    moved = AlignedLayer._moved

    def dirty(self: AlignedLayer, old: torch.Tensor, rows: int, columns: int, shift: int, *how: Any) -> Any:
        memory = moved(self, old, rows, columns, shift, *how)
        memory[:, :, self._window.end + shift :] = torch.nan
        return memory

    patch.setattr(AlignedLayer, "_moved", dirty)


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
    flaw(monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert not verify(shipped).captured
    assert "steps of this model are computed call by call: " in caplog.text


def test_code_that_cannot_be_captured_is_found_at_load(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A graph may read no number from the device; a failed one must leave the memory usable."""
    forward = shipped.network.lm_head.forward

    def reading(states: torch.Tensor) -> torch.Tensor:
        if DEVICE == "cpu" and len(states) > 1:
            raise RuntimeError("operation not permitted when stream is capturing")
        states.sum().item()
        logits: torch.Tensor = forward(states)
        return logits

    if DEVICE == "cpu":
        monkeypatch.setattr(FixedStep, "capture", lambda self, *_: reading(self._ids[:2]))
    else:
        monkeypatch.setattr(shipped.network.lm_head, "forward", reading)
    with caplog.at_level(logging.WARNING):
        assert not verify(shipped).captured
    assert "steps of this model are computed call by call: " in caplog.text
    monkeypatch.undo()
    if DEVICE != "cpu":
        torch.cuda.empty_cache()
        assert verify(shipped).captured


def test_answers_that_come_and_go_are_the_same_with_captured_steps(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = list[CapturedSteps]()

    def kept(network: Any) -> CapturedSteps:
        engines.append(CapturedSteps(network))
        return engines[-1]

    monkeypatch.setattr(continuous, "CapturedSteps", kept)
    harness = loaded()
    assert "not along with steps (captured ones are faster)" in harness.engine.reason
    assert crowded(harness) == answers
    assert engines[0].replays
    assert not engines[0].failed


def test_where_memory_for_a_graph_is_out_answers_go_on_and_later_ones_are_captured(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness = loaded()
    capture = FixedStep.capture
    lacking = [torch.OutOfMemoryError(), RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED")]

    def scarce(self: FixedStep, *where: Any) -> None:
        if lacking:
            raise lacking.pop()
        capture(self, *where)

    monkeypatch.setattr(FixedStep, "capture", scarce)
    monkeypatch.setattr(captured_step, "PAUSE", 3)
    assert crowded(harness) == answers
    assert not lacking
    assert "no memory to capture steps" in caplog.text
    captured = engine_of(harness)._loop._running._batch._captured
    assert captured
    assert captured.replays
