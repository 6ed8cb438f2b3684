"""A GPU's captured steps answer as the model does alone; here what is captured is computed call by call."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.engines import suite
from tests.engines.continuous.conftest import QUESTIONS, crowded, engine_of, scarce, tiny
from tests.engines.continuous.test_attention_groups import prefilled
from tests.engines.continuous.test_verify_reuse import family
from tests.support.device import DEVICE
from worker.engines.base import Finish
from worker.engines.continuous import captured_step
from worker.engines.continuous import engine as continuous
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.captured_step import CapturedSteps, FixedLayer, FixedStep
from worker.engines.continuous.kv_cache import AlignedLayer
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.verify import batching
from worker.engines.continuous.verify.batching import verify
from worker.engines.loading.loaded import LoadedModel
from worker.engines.registry import create

FIXED = (
    *("llava", "llava-onevision", "internvl", "idefics3", "smolvlm", "qwen2-vl", "qwen2.5-vl", "qwen3-vl"),
    *("mistral3", "paligemma", "idefics2", "qwen2.5-vl-sliding", "gemma3", "gemma4"),
)

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


@pytest.mark.parametrize("name", FIXED)
def test_a_family_with_a_cache_of_columns_is_captured(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert verify(family(name, tmp_path_factory.getbasetemp())).captured


@pytest.mark.parametrize("name", ["qwen3.5", "lfm2-vl", "llama4"])
def test_one_with_recurrent_states_or_a_temperature_of_the_longest_row_is_computed_call_by_call(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert not verify(family(name, tmp_path_factory.getbasetemp())).captured


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


def a_row_that_joins_brings_nonsense_behind_it(patch: pytest.MonkeyPatch) -> None:
    put = AlignedLayer.put

    def dirty(self: AlignedLayer, row: int, source: Any) -> None:
        put(self, row, source)
        self.values[row, :, self._window.end :] = torch.nan

    patch.setattr(AlignedLayer, "put", dirty)


@pytest.mark.parametrize(
    "flaw",
    [
        a_row_that_joins_brings_nonsense_behind_it,
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
    harness = suite.Harness(create(tiny()).load())
    assert "not along with steps (captured ones are faster)" in harness.engine.reason
    assert crowded(harness) == answers
    assert engines[0].replays
    assert not engines[0].failed


def test_where_memory_for_a_graph_is_out_answers_go_on_and_later_ones_are_captured(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create(tiny()).load()
    capture = FixedStep.capture
    lacking = [torch.OutOfMemoryError(), RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED")]

    def scarce(self: FixedStep, *where: Any) -> None:
        if lacking:
            raise lacking.pop()
        capture(self, *where)

    monkeypatch.setattr(FixedStep, "capture", scarce)
    monkeypatch.setattr(captured_step, "PAUSE", 3)
    assert crowded(suite.Harness(engine)) == answers
    assert not lacking
    assert "no memory to capture steps" in caplog.text
    assert engine._loop._running._batch._captured.replays  # type: ignore[attr-defined]


@torch.inference_mode()
def test_a_long_row_that_has_left_does_not_widen_the_steps_of_short_ones(shipped: LoadedModel) -> None:
    batch = Batch(shipped.network, 16, captured=CapturedSteps(shipped.network))
    for words in (400, 4):
        batch.join(prefilled(shipped, words))
    wide = batch._full.aligned[0].size[1]
    batch.leave(0)
    batch.step([5])
    assert batch._full.aligned[0].size[1] < wide / 4


def test_a_caller_who_comes_alone_again_finds_the_graph_of_before(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, capture, captured = suite.Harness(create(tiny()).load()), FixedStep.capture, list[int]()

    def counted(self: FixedStep, *where: Any) -> None:
        captured.append(self.rows)
        capture(self, *where)

    monkeypatch.setattr(FixedStep, "capture", counted)
    for question, due in zip(QUESTIONS, answers, strict=True):
        assert question.ask(harness) == due
    assert captured == [1]


@torch.inference_mode()
def test_one_who_comes_after_a_long_row_has_left_does_not_pay_for_its_columns(shipped: LoadedModel) -> None:
    batch = Batch(shipped.network, 16, captured=CapturedSteps(shipped.network))
    batch.join(prefilled(shipped, 400))
    batch.step([5])
    wide = batch._full.aligned[0].size[1]
    batch.leave(0)
    batch.join(prefilled(shipped, 4))
    assert batch._full.aligned[0].size[1] < wide / 4


def test_what_only_graphs_keep_is_given_back_before_anything_that_callers_may_use_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = suite.Harness(create(tiny()).load())
    QUESTIONS[1].ask(harness)
    engine = engine_of(harness)
    batch, reuse = engine._loop._running._batch, engine._reuse
    reusable_bytes = reuse._ledger.bytes
    assert (batch.rows, batch._cache is not None, reusable_bytes > 0) == (0, True, True)
    lacking = [True]
    scarce(monkeypatch, Prefill, "advance", lambda *_: lacking and lacking.pop())
    assert QUESTIONS[2].ask(harness).reason
    assert lacking == []
    assert reuse._ledger.bytes >= reusable_bytes, "what is kept for reuse was dropped"
