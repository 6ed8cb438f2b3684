"""What goes wrong in the batch costs nobody but its cause, and no answer changes by it, then or later."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
import torch

from shared.request import Format
from shared.result import Piece
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
    strangers,
)
from worker.engines.base import Cancelled, DeviceBroken, Finish
from worker.engines.continuous import adaptive_limit, reuse_cache, running_batch, sequence, shared_pass
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.kv_cache import AlignedLayer, BatchCache
from worker.engines.continuous.mixed_pass import MixedPass
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.prefix_cache import PrefixTree
from worker.engines.continuous.row_window import RowWindow
from worker.engines.continuous.running_batch import RunningBatch
from worker.engines.continuous.sampling import Sampler
from worker.engines.continuous.token_budget import BatchCapacity, PassLimits, PrefillPace
from worker.engines.loading.loaded import LoadedModel
from worker.engines.sampling import logprobs
from worker.engines.sampling.processors import Confidence, LogitsError

SCARCE = "CUDA out of memory."


def at(*numbers: int) -> Callable[..., bool]:
    calls = count(1)
    return lambda *_, **__: next(calls) in numbers


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


def test_without_memory_what_is_kept_goes_before_any_row_does(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, ledger = [1], engine_of(fresh)._reuse._ledger
    limit = ledger.limit

    def missing(_: Batch, tokens: list[int], *__: Any) -> bool:
        return bool(len(tokens) > 2 and left and ledger.bytes and left.pop())

    scarce(monkeypatch, Batch, "mixed_step", missing)
    assert crowded(fresh) == answers
    assert not left
    assert (engine_of(fresh).rows_now, ledger.limit) == (ROWS, limit // 2)


@pytest.mark.parametrize(("where", "times"), [("mixed_step", 1), ("join", 2)])
def test_a_caller_who_is_alone_has_one_more_try_where_nothing_is_kept_that_could_make_room(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch, where: str, times: int
) -> None:
    """Another process may have wanted the memory, for a moment only."""
    forgetful = started(shipped, options={"reuse_mb": 0})
    wanted = QUESTIONS[0].ask(forgetful)
    drop_idle(forgetful)
    scarce(monkeypatch, Batch, where, at(*range(1, times + 1)))
    if times == 2:
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


def test_what_a_failure_leaves_is_free_before_memory_is_given_back(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the most that there is to give back: without it memory would run out once more."""
    step, computed, left = Batch.mixed_step, list[Any](), list[Any]()

    def failing(*given: Any) -> Any:
        if not computed:
            activations = torch.zeros(8)
            computed.append(weakref.ref(activations))
            raise torch.OutOfMemoryError(SCARCE)
        return step(*given)

    wanted = QUESTIONS[0].ask(fresh)
    monkeypatch.setattr(Batch, "mixed_step", failing)
    monkeypatch.setattr(RunningBatch, "give_back_memory", lambda _: left.append(computed[0]()))
    assert QUESTIONS[0].ask(fresh) == wanted
    assert left == [None]


def too_large(monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    for name in ("advance", "share"):
        scarce(monkeypatch, Prefill, name, lambda prefill, *_: prefill._config.max_new_tokens == longest)


Way = Callable[[pytest.MonkeyPatch, suite.Harness], object]


def apart(patch: pytest.MonkeyPatch, _: suite.Harness) -> None:
    """Prompts share passes, and steps take none along."""
    patch.setattr(PrefillPace, "mixes", lambda *_: False)
    patch.setattr(PrefillPace, "limits", lambda *_, **__: PassLimits(tokens=4096, idle=4096))


def along(patch: pytest.MonkeyPatch, harness: suite.Harness) -> None:
    """One prompt goes first, and steps take three others along, also on a GPU."""
    patch.setattr(engine_of(harness)._loop._prefilling, "mixes", True)
    patch.setattr(PrefillPace, "mixes", lambda *_: True)
    patch.setattr(PrefillPace, "lasts", lambda _: False)
    busy = PassLimits(tokens=400, idle=0, chunk=400, sequences=3)
    patch.setattr(PrefillPace, "limits", lambda _, *, hurried: busy if hurried else PassLimits(1, 0))


def recurrent(patch: pytest.MonkeyPatch, _: suite.Harness) -> None:
    patch.setattr(BatchCache, "recurrent", True)


def as_ever(*_: Any) -> None:
    pass


NO_MEMORY = torch.OutOfMemoryError(SCARCE)
NO_MEMORY_ON_A_CPU = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
WEAKNESS = RuntimeError("a moment's weakness")


FAILURES: tuple[tuple[Way, Any, str, Callable[[], Callable[..., bool]], Exception], ...] = (
    (as_ever, PrefixTree, "keep", lambda: lambda *_: True, NO_MEMORY),
    (as_ever, Batch, "mixed_step", lambda: lambda _, tokens, *__: len(tokens) > 2, NO_MEMORY_ON_A_CPU),
    (as_ever, Batch, "leave", lambda: at(1), NO_MEMORY),
    (along, MixedPass, "inputs", lambda: lambda mixed, *_: len(mixed.spans) > 1, NO_MEMORY),
    (apart, shared_pass, "advance", lambda: lambda prefills, *_: len(prefills) > 2, NO_MEMORY),
    (apart, reuse_cache, "encode_all", lambda: lambda *_: True, NO_MEMORY),
)
RARER: tuple[tuple[Way, Any, str, Callable[[], Callable[..., bool]], Exception], ...] = (
    (as_ever, Batch, "join", lambda: lambda batch, _: batch.rows == 2, NO_MEMORY),
    (recurrent, Batch, "mixed_step", lambda: lambda _, tokens, *__: len(tokens) > 2, NO_MEMORY),
    (as_ever, AlignedLayer, "drop", lambda: at(2), NO_MEMORY),
    (as_ever, RunningBatch, "step", lambda: at(9), WEAKNESS),
    (along, Prefill, "share", lambda: at(1, 2), WEAKNESS),
    (along, MixedPass, "pasts", lambda: at(1), WEAKNESS),
    (along, running_batch, "distributions", lambda: at(1), NO_MEMORY),
    (apart, shared_pass, "advance", lambda: at(1), WEAKNESS),
)


@pytest.mark.parametrize(
    ("way", "where", "name", "when", "error"),
    [*FAILURES, *(pytest.param(*rarer, marks=pytest.mark.thorough) for rarer in RARER)],
)
def test_what_fails_at_a_moment_or_for_want_of_memory_costs_nobody_an_answer(
    fresh: suite.Harness,
    answers: list[Finish],
    monkeypatch: pytest.MonkeyPatch,
    way: Way,
    where: Any,
    name: str,
    when: Callable[[], Callable[..., bool]],
    error: Exception,
) -> None:
    way(monkeypatch, fresh)
    failed, due = list[bool](), when()

    def noted(*given: Any) -> bool:
        failed.append(due(*given))
        return failed[-1]

    fail(monkeypatch, where, name, error, noted)
    assert crowded(fresh, strangers(QUESTIONS, name)) == answers
    assert any(failed)
    assert engine_of(fresh).rows_now >= 2
    assert crowded(fresh) == answers


POISON = 666


def any_poisoned(running: RunningBatch, *_: Any) -> bool:
    return any(answer.row.parameters.seed == POISON for answer in running.answers)


def prompt_poisoned(prefill: Prefill, *_: Any) -> bool:
    return bool(prefill._config.max_new_tokens == POISON)


@pytest.mark.parametrize(
    ("way", "faults"),
    [
        (as_ever, [(RunningBatch, "step", any_poisoned)]),
        (along, [(Prefill, name, prompt_poisoned) for name in ("advance", "share")]),
        (
            apart,
            [
                (Prefill, "advance", prompt_poisoned),
                (shared_pass, "advance", lambda prefills, *_: any(map(prompt_poisoned, prefills))),
            ],
        ),
    ],
    ids=["every step", "along with steps", "a pass over several"],
)
def test_whoever_breaks_what_is_computed_fails_alone(
    fresh: suite.Harness,
    answers: list[Finish],
    monkeypatch: pytest.MonkeyPatch,
    way: Way,
    faults: list[tuple[Any, str, Callable[..., bool]]],
) -> None:
    way(monkeypatch, fresh)
    for where, name, when in faults:
        fail(monkeypatch, where, name, IndexError("index out of range in self"), when)
    poison = Question(5, {**LONG, "seed": POISON, "max_new_tokens": POISON})
    asked = strangers([*QUESTIONS[:3], poison, *QUESTIONS[3:]], "beside one to blame")
    futures = crowd(fresh, asks(fresh, asked))
    assert isinstance(futures.pop(3).exception(), IndexError)
    assert [future.result() for future in futures] == answers
    assert crowded(fresh) == answers


def test_a_row_whose_numbers_are_none_fails_alone_and_leaves_nothing_behind(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys and values become NaN, as they do where a model's own numbers overflow."""
    step: Any = RunningBatch.step

    def broken(self: RunningBatch, *beside: Any) -> Any:
        cache: Any = self._batch._cache
        for row, answer in enumerate(self.answers):
            for layer in cache.layers if answer.row.parameters.seed == POISON else ():
                layer.keys[row] = torch.nan
                layer.values[row] = torch.nan
        return step(self, *beside)

    monkeypatch.setattr(RunningBatch, "step", broken)
    poison = Question(5, {**LONG, "seed": POISON})
    futures = crowd(fresh, asks(fresh, [*QUESTIONS[:3], poison, *QUESTIONS[3:]]))
    assert isinstance(futures.pop(3).exception(), LogitsError)
    assert [future.result() for future in futures] == answers
    assert crowded(fresh) == answers


@pytest.mark.parametrize(
    ("way", "where", "name", "when"),
    [
        (as_ever, RunningBatch, "step", lambda running, *_: len(running.answers) > 1),
        (along, MixedPass, "pasts", lambda *_: True),
        (as_ever, Batch, "leave", lambda *_: True),
    ],
    ids=["a step", "a step with prompts", "as somebody leaves"],
)
def test_a_broken_device_blames_nobody_in_a_crowd_and_is_told(
    fresh: suite.Harness,
    monkeypatch: pytest.MonkeyPatch,
    way: Way,
    where: Any,
    name: str,
    when: Callable[..., bool],
) -> None:
    way(monkeypatch, fresh)
    assert not fresh.engine.broken
    fail(monkeypatch, where, name, torch.AcceleratorError("CUDA error: launch failure", 719), when)
    futures = crowd(fresh, asks(fresh, [Question(n, {**LONG, "seed": n}) for n in range(ROWS)]))
    errors = [future.exception() for future in futures]
    assert {type(error) for error in errors if error} == {DeviceBroken}
    assert errors.count(None) <= (name == "leave"), "who leaves has its answer"
    assert fresh.engine.broken
    assert fresh.engine.idle_s() == 0
    with pytest.raises(DeviceBroken):
        QUESTIONS[0].ask(fresh)


def test_a_row_that_breaks_the_device_by_itself_is_to_blame(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, RunningBatch, "step", RuntimeError("CUDA error: device-side assert"), lambda *_: True)
    with pytest.raises(RuntimeError, match="device-side assert"):
        QUESTIONS[4].ask(fresh)
    assert fresh.engine.broken


def test_a_reader_that_fails_ends_its_own_row_only(harness: suite.Harness, answers: list[Finish]) -> None:
    def broken(piece: Piece) -> None:
        raise ConnectionError(piece.text)

    row = harness.row("Hello", emit=broken, **LONG)
    futures = crowd(harness, [lambda: harness.engine.generate(row), *asks(harness, QUESTIONS)])
    assert isinstance(futures.pop(0).exception(), ConnectionError)
    assert [future.result() for future in futures] == answers


@pytest.mark.thorough
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
    for _ in range(10):
        assert crowded(fresh) == answers
        if not failures:
            return
    pytest.fail("no rows were torn apart")


def test_a_mistake_of_the_engines_own_lets_nobody_wait_for_ever(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, BatchCapacity, "admits", ZeroDivisionError("a mistake"), lambda *_: True)
        with pytest.raises(ZeroDivisionError):
            QUESTIONS[4].ask(fresh)
    assert crowded(fresh) == answers


LIKELIHOODS = ((sequence, "distributions"), (logprobs.Distribution, "of"), (sequence, "Sampler"))
FORMAT = Format(kind="choice", content='["cats and dogs and so on","dogs and cats and so on"]')


@pytest.mark.parametrize(
    ("where", "name", "call", "parameters", "replayed"),
    [
        (torch.Tensor, "exponential_", 3, LONG, 0),
        (Confidence, "logprob", 3, LONG, 4),
        (Confidence, "logprob", 3, {"format": FORMAT}, 0),
        (Sampler, "accept", 3, {"format": FORMAT}, 4),
        *((where, name, 1, LONG | {"logprobs": 1}, 0) for where, name in LIKELIHOODS),
    ],
)
def test_a_draw_without_memory_is_made_again_and_the_answer_is_what_it_was(
    fresh: suite.Harness,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    call: int,
    parameters: dict[str, Any],
    replayed: int,
) -> None:
    """Also where a reader already has the beginning: what follows fits to it."""
    asked: dict[str, Any] = {**parameters, "temperature": 2.0, "seed": 3}
    wanted, pieces = fresh.ask("What?", **asked)
    read: dict[str, Any] = {
        "published": tuple(i for piece in pieces[:replayed] for i in piece.ids),
        "published_text": "".join(piece.text for piece in pieces[:replayed]),
    }
    scarce(monkeypatch, where, name, at(call))
    assert fresh.ask("What?", **asked, **read)[0] == wanted


def test_who_stays_is_answered_where_memory_ran_out_behind_a_step_and_a_neighbour_leaves(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step's tokens are in the cache by then, and none was drawn behind them."""
    asked: dict[str, Any] = {**LONG, "seed": 1, "logprobs": 0}
    wanted, _ = fresh.ask("Who stays?", **asked)
    leaving = fresh.row("Who leaves?", **asked)
    real = logprobs.distributions

    def missing(logits: torch.Tensor, counts: list[int]) -> Any:
        if len(counts) == 2 and not leaving.cancel.is_set():
            leaving.cancel.set()
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(logits, counts)

    monkeypatch.setattr(running_batch, "distributions", missing)
    asks = [lambda: fresh.engine.generate(leaving), lambda: fresh.ask("Who stays?", **asked)[0]]
    gone, stayed = crowd(fresh, asks)
    assert isinstance(gone.exception(), Cancelled)
    assert stayed.result() == wanted


def test_an_answer_that_ends_beside_a_draw_without_memory_is_ended_once(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is there any to give the draw's memory back, so that all rows go back into the line."""
    short: dict[str, Any] = {"temperature": 4.0, "min_new_tokens": 3, "max_new_tokens": 3, "seed": 2}
    questions = [Question(3, {**LONG, "seed": 1}), Question(6, short)]
    wanted = [question.ask(fresh) for question in questions]
    take, hit = sequence.TokenSequence.take, list[int]()

    def missing(self: sequence.TokenSequence, *drawn: Any) -> None:
        beside = engine_of(fresh)._loop._running.answers
        if not hit and beside[:1] == [self] and any(left(other) == 1 for other in beside[1:]):
            hit.append(len(beside))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        take(self, *drawn)

    monkeypatch.setattr(sequence.TokenSequence, "take", missing)
    scarce(monkeypatch, RunningBatch, "give_back_memory", at(1))
    assert crowded(fresh, questions) == wanted
    assert hit == [2]


def left(unfinished: sequence.TokenSequence) -> int:
    """Tokens."""
    return unfinished.budget - len(unfinished._transcript.ids)
