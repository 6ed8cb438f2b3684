"""What goes wrong in the batch costs nobody but its cause, and no answer changes by it, then or later."""

import threading
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
from worker.engines.base import DeviceBroken, Finish
from worker.engines.continuous import loop, prefill, scheduler, sequence
from worker.engines.continuous.kv_cache import BatchCache, KVLayer
from worker.engines.continuous.prefill import FlatLayer, Prefill
from worker.engines.continuous.reuse_cache import PrefixTree
from worker.engines.continuous.runner import Runner
from worker.engines.continuous.sampling import Sampler
from worker.engines.continuous.scheduler import BatchCapacity, Pace
from worker.engines.continuous.sequence import TokenSequence
from worker.engines.loading.loaded import LoadedModel
from worker.engines.sampling import logprobs
from worker.engines.sampling.processors import Confidence, LogitsError

NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory.")
NO_MEMORY_ON_A_CPU = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
WEAKNESS = RuntimeError("a moment's weakness")
POISON = 666
"""The seed, and the longest answer, of a request that is to blame."""

When = Callable[..., bool]
Way = Callable[[pytest.MonkeyPatch, suite.Harness], object]
Fault = tuple[Way, Any, str, Callable[[], When], Exception]


def at(*numbers: int) -> When:
    calls = count(1)
    return lambda *_, **__: next(calls) in numbers


def always(*_: Any, **__: Any) -> bool:
    return True


def crowds(_: Runner, tokens: list[int], *__: Any) -> bool:
    return len(tokens) > 2


def as_ever(*_: Any) -> None:
    pass


def apart(patch: pytest.MonkeyPatch, _: suite.Harness) -> None:
    """Prompts share passes, and steps take none along."""
    patch.setattr(Pace, "mixes", lambda _: False)
    patch.setattr(Pace, "enough", 4096)


def along(patch: pytest.MonkeyPatch, harness: suite.Harness) -> None:
    """One prompt goes first, and steps take others along, also on a GPU."""
    patch.setattr(engine_of(harness)._loop, "_mixes", True)
    patch.setattr(Pace, "mixes", lambda _: True)
    patch.setattr(Pace, "tokens", 400)
    patch.setattr(Pace, "over", False)
    patch.setattr(Pace, "enough", prefill.TILE)


def torn(patch: pytest.MonkeyPatch, _: suite.Harness) -> None:
    """Each step that fails has changed the rows."""
    patch.setattr(BatchCache, "torn", property(always, as_ever), raising=False)


def cramped(patch: pytest.MonkeyPatch, _: suite.Harness) -> None:
    """Rows have to move with almost every step."""
    patch.setattr("worker.engines.continuous.runner.GRAIN", 1)


def stuck(patch: pytest.MonkeyPatch, harness: suite.Harness) -> None:
    """The first row has no memory for a token, and leaves while others have drawn theirs."""
    apart(patch, harness)
    engine, left = engine_of(harness)._loop, [1]

    def first(answer: TokenSequence, *_: Any) -> bool:
        return bool(engine._running[:1] == [answer] and left and left.pop())

    scarce(patch, TokenSequence, "take", first)


def moving() -> When:
    """Some layers have moved, others have not."""
    calls = count(1)
    return lambda layer, *_: len(layer._table.lengths) > 1 and next(calls) == 2


FAULTS: tuple[Fault, ...] = (
    (as_ever, PrefixTree, "keep", lambda: always, NO_MEMORY),
    (as_ever, PrefixTree, "keep", lambda: always, WEAKNESS),
    (as_ever, Runner, "step", lambda: crowds, NO_MEMORY_ON_A_CPU),
    (as_ever, Runner, "join", lambda: lambda runner, _: runner.rows == 2, NO_MEMORY),
    (along, prefill, "_flat_inputs", lambda: lambda _, chunks, *__: len(chunks) > 1, NO_MEMORY),
    (apart, loop, "flat_pass", lambda: lambda _, chunks: len(chunks) > 2, NO_MEMORY),
)
RARER: tuple[Fault, ...] = (
    (as_ever, Runner, "leave", lambda: at(1), NO_MEMORY),
    (torn, Runner, "step", lambda: crowds, NO_MEMORY),
    (as_ever, KVLayer, "drop", lambda: at(2), NO_MEMORY),
    (cramped, KVLayer, "move", moving, NO_MEMORY),
    (stuck, Runner, "leave", lambda: at(1), NO_MEMORY),
    (as_ever, Runner, "step", lambda: at(9), WEAKNESS),
    (along, BatchCache, "after_step", lambda: at(9), WEAKNESS),
    (as_ever, Runner, "join", lambda: at(3), WEAKNESS),
    (along, FlatLayer, "attend", lambda: at(2), WEAKNESS),
    (along, loop, "distributions", lambda: at(1), NO_MEMORY),
    (apart, loop, "flat_pass", lambda: at(1), WEAKNESS),
)


@pytest.mark.parametrize(
    "fault", [*FAULTS, *(pytest.param(rarer, marks=pytest.mark.thorough) for rarer in RARER)]
)
def test_what_fails_at_a_moment_or_for_want_of_memory_costs_nobody_an_answer(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    way, where, name, when, error = fault
    way(monkeypatch, fresh)
    failed, due = list[bool](), when()

    def fails(*given: Any, **named: Any) -> bool:
        failed.append(due(*given, **named))
        return failed[-1]

    fail(monkeypatch, where, name, error, fails)
    assert crowded(fresh, strangers(QUESTIONS, name)) == answers
    assert any(failed)
    assert engine_of(fresh).rows_now >= 2
    assert crowded(fresh) == answers


def poisoned(harness: suite.Harness) -> list[int]:
    """The rows of who is to blame."""
    running = engine_of(harness)._loop._running
    return [row for row, answer in enumerate(running) if answer.row.parameters.seed == POISON]


def its_steps(patch: pytest.MonkeyPatch, harness: suite.Harness) -> None:
    fail(patch, Runner, "step", IndexError("index out of range"), lambda *_: poisoned(harness))


def its_numbers(patch: pytest.MonkeyPatch, harness: suite.Harness) -> None:
    """Its keys and values become NaN, as they do where a model's own numbers overflow."""
    step = Runner.step

    def broken(runner: Runner, *given: Any) -> Any:
        for layer in runner._full.kv:
            layer.keys[poisoned(harness)] = torch.nan
            layer.values[poisoned(harness)] = torch.nan
        return step(runner, *given)

    patch.setattr(Runner, "step", broken)


def its_prompt(patch: pytest.MonkeyPatch, _: suite.Harness) -> None:
    def to_blame(prompt: Prefill, *_: Any) -> bool:
        return bool(prompt._config.max_new_tokens == POISON)

    error = IndexError("index out of range")
    fail(patch, Prefill, "advance", error, to_blame)
    fail(patch, prefill, "_flat_inputs", error, lambda _, chunks, *__: any(to_blame(*one) for one in chunks))


@pytest.mark.parametrize(
    ("way", "flaw"), [(as_ever, its_steps), (as_ever, its_numbers), (along, its_prompt), (apart, its_prompt)]
)
def test_whoever_breaks_what_is_computed_fails_alone_and_leaves_nothing_behind(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch, way: Way, flaw: Way
) -> None:
    way(monkeypatch, fresh)
    flaw(monkeypatch, fresh)
    poison = Question(5, {**LONG, "seed": POISON, "max_new_tokens": POISON})
    asked = strangers([*QUESTIONS[:3], poison, *QUESTIONS[3:]], "beside one to blame")
    futures = crowd(fresh, asks(fresh, asked))
    assert isinstance(futures.pop(3).exception(), IndexError | LogitsError)
    assert [future.result() for future in futures] == answers
    assert crowded(fresh) == answers


def test_a_reader_that_fails_ends_its_own_row_only(harness: suite.Harness, answers: list[Finish]) -> None:
    def broken(piece: Piece) -> None:
        raise ConnectionError(piece.text)

    row = harness.row("Hello", emit=broken, **LONG)
    futures = crowd(harness, [lambda: harness.engine.generate(row), *asks(harness, QUESTIONS)])
    assert isinstance(futures.pop(0).exception(), ConnectionError)
    assert [future.result() for future in futures] == answers


BREAKS = torch.AcceleratorError("CUDA error: launch failure", 719)


@pytest.mark.parametrize(
    "fault",
    [
        (as_ever, Runner, "step", lambda: lambda _, tokens, *__: len(tokens) > 1, BREAKS),
        (along, FlatLayer, "attend", lambda: always, BREAKS),
        (as_ever, Runner, "leave", lambda: always, BREAKS),
    ],
    ids=["a step", "a step with prompts", "as somebody leaves"],
)
def test_a_broken_device_blames_nobody_in_a_crowd_and_is_told(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    way, where, name, when, error = fault
    way(monkeypatch, fresh)
    assert not fresh.engine.broken
    fail(monkeypatch, where, name, error, when())
    futures = crowd(fresh, asks(fresh, [Question(n, {**LONG, "seed": n}) for n in range(ROWS)]))
    errors = [future.exception() for future in futures]
    assert {type(error) for error in errors if error} == {DeviceBroken}
    assert None not in errors or name == "leave", "who leaves has its answer"
    assert fresh.engine.broken
    assert fresh.engine.idle_s() == 0
    with pytest.raises(DeviceBroken):
        QUESTIONS[0].ask(fresh)


def test_a_mistake_of_the_engines_own_lets_nobody_wait_for_ever(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, BatchCapacity, "admits", ZeroDivisionError("a mistake"), always)
        with pytest.raises(ZeroDivisionError):
            QUESTIONS[4].ask(fresh)
    assert crowded(fresh) == answers


# Memory that runs out.


def test_without_memory_what_is_kept_goes_first_then_rows_which_are_back_once_memory_has_lasted(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers would wait beside rows that are not used until somebody starts the worker anew."""
    engine, rows = engine_of(fresh), list[int]()

    def missing(_: Runner, tokens: list[int], *__: Any) -> bool:
        few = len(tokens) > 1 and len(rows) < 5
        rows.extend([engine.rows_now] * few)
        return few

    monkeypatch.setattr(scheduler, "PATIENCE", 4)
    scarce(monkeypatch, Runner, "step", missing)
    assert crowded(fresh) == answers
    assert rows[:2] == [ROWS, ROWS]
    assert min(rows) < ROWS
    assert engine.rows_now == ROWS


@pytest.mark.parametrize(("where", "times"), [("step", 1), ("join", 2)])
def test_a_caller_who_is_alone_has_one_more_try_where_nothing_is_kept_that_could_make_room(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch, where: str, times: int
) -> None:
    """Another process may have wanted the memory, for a moment only."""
    forgetful = started(shipped, options={"reuse_mb": 0})
    wanted = QUESTIONS[0].ask(forgetful)
    drop_idle(forgetful)
    scarce(monkeypatch, Runner, where, at(*range(1, times + 1)))
    if times == 2:
        with pytest.raises(torch.OutOfMemoryError):
            QUESTIONS[0].ask(forgetful)
    assert QUESTIONS[0].ask(forgetful) == wanted


def test_one_prompt_that_never_fits_fails_although_others_keep_coming(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its tries costs all of them a prompt's time: it may not be tried beside them for ever."""
    large, over, wanted = (
        Question(5, {**LONG, "max_new_tokens": 41}),
        threading.Event(),
        QUESTIONS[4].ask(fresh),
    )

    def too_large(prompt: Prefill, *_: Any) -> bool:
        return bool(prompt._config.max_new_tokens == 41)

    scarce(monkeypatch, Prefill, "advance", too_large)
    scarce(
        monkeypatch, prefill, "_flat_inputs", lambda _, chunks, *__: any(too_large(*one) for one in chunks)
    )

    def keep_asking() -> set[str]:
        texts = set[str]()
        while not over.is_set():
            texts.add(QUESTIONS[4].ask(fresh).text)
        return texts

    with ThreadPoolExecutor(ROWS) as pool:
        asking = [pool.submit(keep_asking) for _ in range(ROWS)]
        try:
            with pytest.raises(torch.OutOfMemoryError):
                large.ask(fresh)
        finally:
            over.set()
    assert set[str]().union(*(future.result() for future in asking)) <= {wanted.text}


FORMAT = {"format": Format(kind="choice", content='["cats and dogs and so on","dogs and cats and so on"]')}
LOGPROBS = {**LONG, "logprobs": 1}


@pytest.mark.parametrize(
    ("where", "name", "call", "parameters", "replayed"),
    [
        (torch.Tensor, "exponential_", 3, LONG, 0),
        (Confidence, "logprob", 3, LONG, 4),
        (Sampler, "accept", 3, FORMAT, 4),
        (sequence, "distributions", 1, LOGPROBS, 0),
        (logprobs.Distribution, "of", 1, LOGPROBS, 0),
        (sequence, "Sampler", 1, LOGPROBS, 0),
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
    ids = tuple(i for piece in pieces[:replayed] for i in piece.ids)
    text = "".join(piece.text for piece in pieces[:replayed])
    scarce(monkeypatch, where, name, at(call))
    assert fresh.ask("What?", **asked, published=ids, published_text=text)[0] == wanted
