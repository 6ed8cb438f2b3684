"""What goes wrong in the batch costs nobody but its cause, and no answer changes by it."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch

from shared.result import Piece
from tests.engines import suite
from tests.engines.continuous.conftest import (
    LONG,
    QUESTIONS,
    Question,
    asks,
    crowd,
    crowded,
    engine_of,
    fail,
    scarce,
)
from worker.engines.base import DeviceBroken, Finish
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.kv_cache import AlignedLayer, BatchCache
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.row_window import RowWindow
from worker.engines.continuous.running_batch import RunningBatch
from worker.engines.continuous.token_budget import BatchCapacity
from worker.engines.sampling.processors import LogitsError

POISON, MOST_CROWDS = 666, 10
CPU_OUT_OF_MEMORY = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
Step = Callable[[RunningBatch], Any]


def poisoned(harness: suite.Harness, answers: list[Finish], error: type[Exception], **more: Any) -> None:
    """One poisoned caller among the others fails; the others do not notice."""
    poison = Question(5, {**LONG, "seed": POISON, **more})
    futures = crowd(harness, asks(harness, [*QUESTIONS[:3], poison, *QUESTIONS[3:]]))
    assert isinstance(futures.pop(3).exception(), error)
    assert [future.result() for future in futures] == answers
    assert crowded(harness) == answers


def is_poisoned(running: RunningBatch) -> list[bool]:
    return [answer.row.parameters.seed == POISON for answer in running.answers]


def test_a_row_that_breaks_every_step_it_is_in_fails_alone(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = IndexError("index out of range in self")
    fail(monkeypatch, RunningBatch, "step", error, lambda running, *_: any(is_poisoned(running)))
    poisoned(fresh, answers, IndexError)


def test_a_row_whose_numbers_are_none_fails_alone_and_leaves_nothing_behind(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys and values become NaN, as they do where a model's own numbers overflow."""
    step: Step = RunningBatch.step

    def broken(self: RunningBatch, *beside: Any) -> Any:
        cache: Any = self._batch._cache
        for row, ill in enumerate(is_poisoned(self)):
            for layer in cache.layers if ill else ():
                layer.keys[row] = torch.nan
                layer.values[row] = torch.nan
        return step(self, *beside)

    monkeypatch.setattr(RunningBatch, "step", broken)
    poisoned(fresh, answers, LogitsError, temperature=None, min_new_tokens=20, max_new_tokens=20)
    poisoned(fresh, answers, LogitsError)


def test_a_prompt_that_cannot_be_prefilled_fails_alone(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it shares a pass with others."""
    error = ValueError("Image features and image tokens do not match")
    for name in ("advance", "share"):
        fail(monkeypatch, Prefill, name, error, lambda prefill, *_: prefill._config.max_new_tokens == POISON)
    poisoned(fresh, answers, ValueError, max_new_tokens=POISON)


def test_a_reader_that_fails_ends_its_own_row_only(harness: suite.Harness, answers: list[Finish]) -> None:
    def broken(piece: Piece) -> None:
        raise ConnectionError(piece.text)

    row = harness.row("Hello", emit=broken, **LONG)
    futures = crowd(harness, [lambda: harness.engine.generate(row), *asks(harness, QUESTIONS)])
    assert isinstance(futures.pop(0).exception(), ConnectionError)
    assert [future.result() for future in futures] == answers


def test_a_step_that_fails_by_chance_costs_nobody_anything(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = count(1)
    fail(monkeypatch, RunningBatch, "step", RuntimeError("a moment's weakness"), lambda *_: next(steps) == 9)
    assert crowded(fresh) == answers
    assert next(steps) > 9


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU_OUT_OF_MEMORY)]
)
def test_rows_without_memory_are_taken_out_and_answered_later_as_alone(
    fresh: suite.Harness,
    answers: list[Finish],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    recurrent: bool,
) -> None:
    fail(monkeypatch, Batch, "mixed_step", error, lambda _, tokens, *__: len(tokens) > 2)
    monkeypatch.setattr(BatchCache, "recurrent", recurrent)
    assert crowded(fresh) == answers
    assert engine_of(fresh).rows_now in (2, 3), "a third is tried again and again, ever more rarely"


def test_a_prompt_without_memory_waits_for_the_others_and_fails_only_by_itself(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce(monkeypatch, Batch, "join", lambda batch, _: batch.rows == 2)
    assert crowded(fresh) == answers
    scarce(monkeypatch, Batch, "join", lambda *_: True)
    with pytest.raises(torch.OutOfMemoryError):
        QUESTIONS[4].ask(fresh)


@pytest.mark.parametrize("every", [2, 3])
def test_rows_torn_apart_for_want_of_memory_are_answered_as_alone(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """Some layers have moved when memory runs out, others have not; without spare columns that is often."""
    calls, failures = count(1), [1, 2]

    def torn(layer: AlignedLayer, _rows: int, _columns: int, shift: int) -> bool:
        crowded_out = layer._window.rows >= 2 and shift and next(calls) % every == 0
        return bool(crowded_out and failures and failures.pop())

    monkeypatch.setattr(RowWindow, "room", lambda _, columns: columns)
    scarce(monkeypatch, AlignedLayer, "make_room", torn)
    monkeypatch.setattr(BatchCapacity, "shrink", lambda *_: None)
    # How many rows are in one step is the machine's choice.
    for _ in range(MOST_CROWDS):
        assert crowded(fresh) == answers
        if not failures:
            return
    pytest.fail("no rows were torn apart")


def test_a_broken_device_blames_nobody_in_a_crowd_and_is_told(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.AcceleratorError("CUDA error: unspecified launch failure", 719)
    fail(monkeypatch, RunningBatch, "step", error, lambda running, *_: len(running.answers) > 1)
    assert not fresh.engine.broken
    questions = [Question(n, {**LONG, "seed": n}) for n in range(4)]
    futures = crowd(fresh, asks(fresh, questions))
    assert {type(future.exception()) for future in futures} == {DeviceBroken}
    assert fresh.engine.broken
    assert fresh.engine.idle_s() == 0
    with pytest.raises(DeviceBroken):
        QUESTIONS[0].ask(fresh)


def test_a_row_that_breaks_the_device_by_itself_is_to_blame(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("CUDA error: device-side assert triggered")
    fail(monkeypatch, RunningBatch, "step", error, lambda *_: True)
    with pytest.raises(RuntimeError, match="device-side assert"):
        QUESTIONS[4].ask(fresh)
    assert fresh.engine.broken


def test_a_mistake_of_the_engines_own_lets_nobody_wait_for_ever(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, BatchCapacity, "admits", ZeroDivisionError("a mistake"), lambda *_: True)
        with pytest.raises(ZeroDivisionError):
            QUESTIONS[4].ask(fresh)
    assert crowded(fresh) == answers
