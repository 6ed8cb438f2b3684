"""Who was there when something broke is no worse off afterwards than who comes later."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from tests.engines import suite
from tests.engines.continuous.conftest import (
    LONG,
    QUESTIONS,
    ROWS,
    Question,
    asks,
    crowd,
    crowded,
    drop_idle,
    engine_of,
    fail,
    scarce,
    started,
)
from worker.engines.base import Cancelled, DeviceBroken, Finish
from worker.engines.continuous import adaptive_limit
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.kv_cache import AlignedLayer
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.running_batch import RunningBatch
from worker.engines.continuous.sequence import TokenSequence
from worker.engines.loading.loaded import LoadedModel

SCARCE = "CUDA out of memory."
MANY = {**LONG, "temperature": 0.0}


def test_one_prompt_that_never_fits_costs_those_who_come_later_no_rows(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be served one by one until somebody starts the worker anew."""
    large = Question(5, {**LONG, "max_new_tokens": 41})
    too_large(monkeypatch, 41)
    futures = crowd(fresh, asks(fresh, [*QUESTIONS[:3], large, *QUESTIONS[3:]]))
    assert isinstance(futures.pop(3).exception(), torch.OutOfMemoryError)
    assert [future.result() for future in futures] == answers
    assert engine_of(fresh)._loop._capacity.rows == ROWS
    assert engine_of(fresh)._loop._prefilling.longest is None, "nor shorter passes"


def test_a_moment_without_memory_costs_later_callers_neither_rows_nor_reuse(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would wait beside rows that are not used until somebody starts the worker anew."""
    engine, failed = engine_of(fresh), list[int]()
    limit = engine._reuse._ledger.limit

    def missing(_: Batch, tokens: list[int], *__: Any) -> bool:
        few = len(tokens) > 1 and len(failed) < 5
        failed.extend([engine.rows_now] * few)
        return few

    monkeypatch.setattr(adaptive_limit, "PATIENCE", 4)
    engine._loop._capacity._rows._patience = engine._reuse._ledger._ration._patience = 4
    scarce(monkeypatch, Batch, "mixed_step", missing)
    assert crowded(fresh) == answers
    assert min(failed) < ROWS
    assert engine.rows_now == ROWS
    assert engine._reuse._ledger.limit < limit, "so few callers would leave too little to fill it"
    for _ in range(64):
        engine._reuse._ledger.room(engine._reuse._ledger.limit)
    assert engine._reuse._ledger.limit == limit


@pytest.mark.parametrize("where", ["mixed_step", "join"])
@pytest.mark.parametrize(("times", "answered"), [(1, True), (2, False)])
def test_a_caller_who_is_alone_has_one_more_try_where_nothing_is_kept_that_could_make_room(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch, where: str, times: int, answered: bool
) -> None:
    """Another process may have wanted the memory, for a moment only."""
    forgetful = started(shipped, options={"reuse_mb": 0})
    wanted, calls = QUESTIONS[0].ask(forgetful), count(1)
    drop_idle(forgetful)
    scarce(monkeypatch, Batch, where, lambda *_: next(calls) <= times)
    if answered:
        assert QUESTIONS[0].ask(forgetful) == wanted
    else:
        with pytest.raises(torch.OutOfMemoryError):
            QUESTIONS[0].ask(forgetful)
    assert QUESTIONS[0].ask(forgetful) == wanted


def test_one_prompt_that_never_fits_fails_although_others_keep_coming(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its tries costs all of them a prompt's time: it may not be tried beside them for ever."""
    large, over = Question(5, {**LONG, "max_new_tokens": 41}), threading.Event()
    too_large(monkeypatch, 41)

    def keep_asking() -> None:
        while not over.is_set():
            QUESTIONS[4].ask(fresh)

    with ThreadPoolExecutor(ROWS) as pool:
        asking = [pool.submit(keep_asking) for _ in range(ROWS)]
        try:
            with pytest.raises(torch.OutOfMemoryError):
                large.ask(fresh)
        finally:
            over.set()
    assert [future.result() for future in asking] == [None] * ROWS


def test_a_prompt_that_is_too_long_for_one_pass_is_answered_although_nobody_decodes_beside_it(
    fresh: suite.Harness,
) -> None:
    """Beside others it would be computed in parts; all who ask later are spared the failures."""
    texts, failed = [f"{number} {'Tell me about the picture. ' * 40}" for number in range(2)], list[int]()
    wanted = [fresh.ask(text, scope=None, max_new_tokens=3)[0] for text in texts]

    def too_long(_: Any, __: Any, named: dict[str, Any]) -> None:
        if (tokens := named["input_ids"].numel()) > 100:
            failed.append(tokens)
            raise torch.OutOfMemoryError(SCARCE)

    with engine_of(fresh)._loaded.network.register_forward_pre_hook(too_long, with_kwargs=True):
        assert fresh.ask(texts[0], scope=None, max_new_tokens=3)[0] == wanted[0]
        assert failed
        failed.clear()
        assert fresh.ask(texts[1], scope=None, max_new_tokens=3)[0] == wanted[1]
    assert not failed


@pytest.mark.parametrize(("memory", "answered"), [(450, True), (300, False)])
def test_a_prompt_whose_memory_runs_out_on_the_way_is_not_computed_anew_for_each_shorter_pass(
    fresh: suite.Harness, memory: int, answered: bool
) -> None:
    """Everybody behind it would wait for as many prompts as there are halvings."""
    text, computed = "Tell me about the picture. " * 60, list[int]()
    wanted = fresh.ask(text, scope=None, max_new_tokens=3)[0]
    last = engine_of(fresh)._loaded.network.model.language_model.layers[-1]

    def too_much(layer: Any, given: Any, named: dict[str, Any]) -> None:
        """All layers before the last one have the pass's tokens in the cache by then."""
        past, tokens = named["past_key_values"], given[0].shape[1]
        if type(past) is not DynamicCache:
            return
        if (done := past.get_seq_length(layer.self_attn.layer_idx)) + 4 * tokens > memory:
            raise torch.OutOfMemoryError(SCARCE)
        assert done == sum(computed)
        computed.append(tokens)

    with last.register_forward_pre_hook(too_much, with_kwargs=True):
        if answered:
            assert fresh.ask(text, scope=None, max_new_tokens=3)[0] == wanted
        else:
            with pytest.raises(torch.OutOfMemoryError):
                fresh.ask(text, scope=None, max_new_tokens=3)
    assert len(set(computed)) > 1


@pytest.mark.parametrize(
    ("where", "name"), [(Batch, "mixed_step"), (Prefill, "advance"), (TokenSequence, "prefill")]
)
def test_what_a_failure_leaves_is_free_before_memory_is_given_back(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    """It is the most that there is to give back: without it memory would run out once more."""
    real, computed, left = getattr(where, name), list[Any](), list[Any]()
    give_back = RunningBatch.give_back_memory

    def failing(*given: Any) -> Any:
        if not computed:
            activations = torch.zeros(8)
            computed.append(weakref.ref(activations))
            raise torch.OutOfMemoryError(SCARCE)
        return real(*given)

    def noted(self: RunningBatch) -> None:
        left.append(computed[0]())
        give_back(self)

    wanted = QUESTIONS[0].ask(fresh)
    monkeypatch.setattr(where, name, failing)
    monkeypatch.setattr(RunningBatch, "give_back_memory", noted)
    assert QUESTIONS[0].ask(fresh) == wanted
    assert left == [None]


def too_large(monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    for name in ("advance", "share"):
        scarce(monkeypatch, Prefill, name, lambda prefill, *_: prefill._config.max_new_tokens == longest)


@pytest.mark.parametrize(
    ("where", "name", "at"), [(Batch, "leave", 1), *((AlignedLayer, "drop", at) for at in (1, 2, 3))]
)
def test_who_leaves_where_there_is_no_memory_left_costs_nobody_an_answer(
    fresh: suite.Harness,
    answers: list[Finish],
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    at: int,
) -> None:
    """Some layers may have let go of the row by then, others not."""
    calls = count(1)
    scarce(monkeypatch, where, name, lambda *_: next(calls) == at)
    assert crowded(fresh) == answers
    assert crowded(fresh) == answers


def test_callers_who_give_up_where_there_is_no_memory_left_cost_nobody_an_answer(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [fresh.row(f"Who gives up {number}?", **MANY) for number in range(2)]
    step = RunningBatch.step

    def left(self: RunningBatch, *beside: Any) -> Any:
        if len(self.answers) == ROWS:
            for row in rows:
                row.cancel.set()
        return step(self, *beside)

    leavers = count(1)
    scarce(monkeypatch, Batch, "leave", lambda *_: next(leavers) == 1)
    monkeypatch.setattr(RunningBatch, "step", left)
    giving_up = [partial(fresh.engine.generate, row) for row in rows]
    futures = crowd(fresh, [*giving_up, *asks(fresh, QUESTIONS)])
    assert [type(futures.pop(0).exception()) for _ in rows] == [Cancelled, Cancelled]
    assert [future.result() for future in futures] == answers


def test_a_device_that_breaks_as_somebody_leaves_lets_nobody_wait_for_ever(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = torch.AcceleratorError("CUDA error: unspecified launch failure", 719)
    fail(monkeypatch, Batch, "leave", failure, lambda *_: True)
    futures = crowd(fresh, asks(fresh, QUESTIONS))
    first, *others = sorted(future.exception() is not None for future in futures)
    assert (first, set(others)) == (False, {True})
    assert {type(error) for future in futures if (error := future.exception())} == {DeviceBroken}


def test_rows_that_one_step_failed_are_soon_together_again(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is tried by itself; were it to go on so to its end, all others would wait for it."""
    step, rows, failed, together = RunningBatch.step, list[int](), list[int](), list[list[Any]]()

    def weak(self: RunningBatch, *beside: Any) -> Any:
        if len(self.answers) == ROWS:
            together.append(list(self.answers))
            if not failed:
                failed.append(len(rows))
                raise RuntimeError("a moment's weakness")
        rows.append(len(self.answers))
        return step(self, *beside)

    questions = [Question(number, MANY) for number in range(ROWS)]
    wanted = crowded(fresh, questions)
    monkeypatch.setattr(RunningBatch, "step", weak)
    assert crowded(fresh, questions) == wanted
    since = rows[failed[0] :]
    assert since.count(ROWS) > since.count(1)
    *tried, last = together[0]
    assert together[1] == [last, *tried]
