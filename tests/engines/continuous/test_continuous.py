"""Whoever asks in a crowd gets what they would get alone."""

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.errors import CallerError, ModelFailed
from shared.request import Format
from shared.result import Piece
from shared.settings import SettingsError
from tests.engines import several, suite, telling
from tests.engines.continuous.conftest import (
    LONG,
    MANY_QUESTIONS,
    QUESTIONS,
    ROWS,
    Question,
    crowd,
    crowded,
    engine_of,
    loaded,
    started,
    tiny,
)
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from worker.engines.base import Cancelled, Finish, Row
from worker.engines.continuous.kv_cache import BatchCache
from worker.engines.loading.loaded import LoadedModel
from worker.engines.registry import create


@pytest.mark.parametrize(
    "check", [*suite.CHECKS, *telling.CHECKS, *several.CHECKS], ids=lambda check: check.__name__
)
def test_continuous_keeps_the_contract(
    check: Callable[[suite.Harness], None], harness: suite.Harness
) -> None:
    check(harness)


def test_a_crowd_gets_the_answers_of_the_sequential_engine(
    harness: suite.Harness, alone: suite.Harness
) -> None:
    answers = [question.ask(alone) for question in MANY_QUESTIONS]
    assert crowded(harness, MANY_QUESTIONS) == answers
    assert crowded(harness, MANY_QUESTIONS[::-1])[::-1] == answers


def test_the_logprobs_of_a_crowd_are_those_of_the_sequential_engine(
    harness: suite.Harness, answers: list[Finish]
) -> None:
    for mine, theirs in zip(crowded(harness), answers, strict=True):
        telling.same_logprobs(mine, theirs)
    assert {finish.logprobs is None for finish in answers} == {True, False}


def test_answers_broken_off_at_any_token_go_on_exactly_in_a_crowd(harness: suite.Harness) -> None:
    drawn = {"temperature": 4.0, "seed": 5, "repetition_penalty": 1.3, "presence_penalty": 0.5}
    question = Question(7, {**drawn, "min_new_tokens": 16, "max_new_tokens": 16})
    whole, pieces = harness.ask(question.text, question.pictures, **question.parameters)

    def resume(count: int) -> Finish:
        published_text = suite._text_behind(pieces, count)
        return question.ask(harness, published=whole.ids[:count], published_text=published_text)

    resumed = crowd(harness, [lambda n=n: resume(n) for n in range(len(whole.ids) + 1)])  # type: ignore[misc]
    assert {future.result() for future in resumed} == {whole}


def test_the_time_told_of_an_answer_is_not_that_of_those_before_it_in_line(shipped: LoadedModel) -> None:
    first, second = crowded(started(shipped, rows=1, options={"reuse_mb": 0}), QUESTIONS[:2])
    assert second.began >= first.began + first.compute_s


def test_who_comes_first_is_answered_first(harness: suite.Harness) -> None:
    order: list[int] = []
    all_here = threading.Event()

    def row(number: int) -> Row:
        def emit(_: Piece) -> None:
            if number not in order:
                order.append(number)
            assert all_here.wait(PATIENCE_S)

        return harness.row("Hello", emit=emit, seed=number, **LONG)

    line = engine_of(harness)._loop._line
    with ThreadPoolExecutor(3 * ROWS) as pool:
        futures = [pool.submit(harness.engine.generate, row(0))]
        until(lambda: order)
        for number in range(1, 3 * ROWS):
            futures.append(pool.submit(harness.engine.generate, row(number)))
            until(lambda: len(line._waiting) == len(futures) - 1)
        all_here.set()
        assert all(future.result().ids for future in futures)
    assert order == sorted(order)


def test_a_caller_who_leaves_the_line_is_let_go_while_others_are_answered(harness: suite.Harness) -> None:
    waiting = harness.row("Hello", seed=1, **LONG)
    read = threading.Event()

    def emit(_: Piece) -> None:
        waiting.cancel.set()
        read.set()

    busy = [harness.row("Hello", emit=emit, seed=n, temperature=4.0, max_new_tokens=60) for n in range(ROWS)]
    with ThreadPoolExecutor(ROWS + 1) as pool:
        futures = [pool.submit(harness.engine.generate, row) for row in busy]
        assert read.wait(PATIENCE_S)
        with pytest.raises(Cancelled):
            harness.engine.generate(waiting)
        assert all(future.result().ids for future in futures)


def test_a_family_whose_generate_passes_no_processors_on_heeds_what_was_asked(
    harness: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Janus has one of its own."""
    network = engine_of(harness)._loaded.network
    wishes: dict[str, Any] = {"temperature": 4.0, "seed": 1, "top_k": 40, "frequency_penalty": 0.7}
    expected, generate = harness.ask("Tell.", **wishes)[0], network.generate

    def passing_none_on(**given: Any) -> Any:
        return generate(**{name: value for name, value in given.items() if name != "logits_processor"})

    monkeypatch.setattr(network, "generate", passing_none_on)
    assert harness.ask("Tell.", **wishes)[0].ids == expected.ids


def test_sampling_without_a_seed_differs_from_row_to_row(harness: suite.Harness) -> None:
    question = Question(0, {"temperature": 6.0, "max_new_tokens": 20})
    assert len({finish.ids for finish in crowded(harness, [question] * 3)}) == 3


def test_memory_for_the_cache_limits_a_request_before_it_is_computed() -> None:
    small = loaded(options={"cache_mb": 1})
    limit = small.engine.facts.context_length
    assert 64 < limit < 2048
    # Also of a text that is beyond the model's own length: who cuts it to what is told is not refused again.
    for words in (limit, 3000):
        with suite.refused("context_length_exceeded", match=f"is {limit} tokens"):
            small.engine.prepare(suite.question("word " * words), [])


def test_workers_that_promise_different_lengths_of_one_model_do_not_start() -> None:
    with pytest.raises(ModelFailed, match=r"room for .* tokens, fewer than its context_length; lower that"):
        loaded(options={"cache_mb": 1}, context_length=2048)


def test_rows_wait_where_the_cache_is_small_and_are_answered_as_alone(answers: list[Finish]) -> None:
    small = loaded(options={"cache_mb": 1, "reuse_mb": 0})
    assert crowded(small) == answers


def test_rows_that_are_still_to_come_take_no_memory_beyond_what_the_operator_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, resize, sizes = loaded(options={"cache_mb": 4, "reuse_mb": 0}), BatchCache._make_room, [(0, 0)]

    def watched(cache: BatchCache, rows: int, *how: int) -> None:
        resize(cache, rows, *how)
        have, columns = cache.size
        sizes.append((rows, have * columns * sum(cache.column_bytes.values())))

    monkeypatch.setattr(BatchCache, "_make_room", watched)
    asks = [lambda: small.ask("word " * 200, max_new_tokens=30, min_new_tokens=30)[0]] * 3
    assert all(answer.result().ids for answer in crowd(small, asks))
    rows, most = map(max, zip(*sizes, strict=True))
    assert (rows, most <= 4 * 2**20) == (3, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache": 3}, r"options\.cache.*stall_steps"),
        ({"stall_steps": 1e300}, r"options\.stall_steps: .*1000"),
    ],
)
def test_an_option_in_error_is_refused_before_it_breaks_the_first_request(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        create(tiny(options=options))


def test_an_engine_nobody_holds_any_more_gives_its_thread_and_model_back() -> None:
    harness = loaded()
    engine = engine_of(harness)
    thread, network = engine._loop._thread, weakref.ref(engine._loaded.network)
    assert harness.ask("Hello")[0].ids
    del engine, harness
    gc.collect()
    # On a machine that stands still the engine gives up waiting for its thread, which ends all the same.
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    gc.collect()
    assert network() is None


def test_the_two_engines_do_not_share_cached_answers(harness: suite.Harness, alone: suite.Harness) -> None:
    assert harness.engine.fingerprint != alone.engine.fingerprint


FORMATS = (
    Format(kind="json", content='{"type":"array","items":{"type":"integer"}}'),
    Format(kind="regex", content=r"(\d\d, ){1,6}[a-z]+\."),
    Format(kind="choice", content='["A red disc.","A square."]'),
)
MIXED = tuple(
    Question(one.number, {**one.parameters, "format": FORMATS[at % 3], "min_new_tokens": None})
    if at % 2
    else one
    for at, one in enumerate(QUESTIONS)
)


def test_rows_with_and_without_a_format_get_what_they_get_alone(
    harness: suite.Harness, alone: suite.Harness, answers: list[Finish]
) -> None:
    held = [question.ask(alone) for question in MIXED[1::2]]
    together = crowded(harness, MIXED)
    assert together[::2] == answers[::2]
    assert together[1::2] == held
    assert crowded(harness, MIXED[::-1])[::-1] == together


def test_a_format_that_cannot_be_kept_up_ends_its_own_row_only(
    harness: suite.Harness, answers: list[Finish]
) -> None:
    bad = Question(3, {"format": FORMATS[2], "min_new_tokens": 40, "max_new_tokens": 48})
    asks: list[Callable[[], Finish]] = [lambda q=one: q.ask(harness) for one in (*QUESTIONS[:6], bad)]  # type: ignore[misc]
    *others, refused = crowd(harness, asks)
    assert [future.result() for future in others] == answers[:6]
    error = refused.exception()
    assert isinstance(error, CallerError)
    assert error.param == "min_new_tokens"
