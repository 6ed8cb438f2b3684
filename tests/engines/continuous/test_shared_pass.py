"""Prompts that come together share passes and calls of the encoder, and are understood as by themselves."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.engines import suite
from tests.engines.continuous.conftest import (
    QUESTIONS,
    ROWS,
    Question,
    crowd,
    crowded,
    engine_of,
    fail,
    shown_to_encoder,
    strangers,
)
from worker.engines.base import Finish
from worker.engines.continuous import shared_pass
from worker.engines.continuous.token_budget import PassLimits, PrefillPace

WIDE = PassLimits(tokens=4096, idle=4096)


@pytest.fixture(autouse=True)
def apart_from_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrefillPace, "mixes", lambda *_: False)


def limit(monkeypatch: pytest.MonkeyPatch, to: PassLimits) -> None:
    monkeypatch.setattr(PrefillPace, "limits", lambda _, **__: to)


def test_prompts_that_come_together_share_a_pass_and_their_pictures_a_call(
    harness: suite.Harness,
    answers: list[Finish],
    passes: list[list[tuple[int, int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit(monkeypatch, WIDE)
    calls, asked = shown_to_encoder(harness, monkeypatch), strangers(QUESTIONS[:ROWS], "together")
    assert crowded(harness, asked) == answers[:ROWS]
    assert [len(shared) for shared in passes] == [ROWS]
    assert calls == [sum(len(question.pictures) for question in asked)]


@pytest.mark.parametrize("chunk", [1, 40])
def test_chunks_that_begin_and_end_anywhere_share_passes_and_change_no_answer(
    harness: suite.Harness,
    answers: list[Finish],
    passes: list[list[tuple[int, int]]],
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
) -> None:
    limit(monkeypatch, PassLimits(tokens=3 * chunk, idle=chunk, chunk=chunk))
    assert crowded(harness, strangers(QUESTIONS, f"shared chunks of {chunk}")) == answers
    assert max(map(len, passes)) > 1
    assert any(len({start for start, _ in shared}) > 1 for shared in passes)


def test_known_beginnings_of_unlike_length_share_a_pass(
    harness: suite.Harness,
    alone: suite.Harness,
    passes: list[list[tuple[int, int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit(monkeypatch, WIDE)
    beginning = "What do we see in this image? "
    first = [Question(1, {"scope": f"known {n}", "max_new_tokens": 4 * n + 1}) for n in range(ROWS)]
    crowded(harness, first)
    following: list[dict[str, Any]] = [
        {**question.parameters, "scope": f"known {n}"} for n, question in enumerate(first)
    ]
    texts = [first[n].text + beginning * n + "And?" for n in range(ROWS)]
    asks: list[Callable[[], Finish]] = [
        lambda n=n: harness.ask(texts[n], first[n].pictures, **following[n])[0]  # type: ignore[misc]
        for n in range(ROWS)
    ]
    passes.clear()
    answers = [future.result() for future in crowd(harness, asks)]
    expected = [alone.ask(texts[n], first[n].pictures, **following[n])[0] for n in range(ROWS)]
    assert [finish.ids for finish in answers] == [finish.ids for finish in expected]
    assert min(start for start, _ in passes[0]) > 0
    assert len(passes[0]) > 1


def test_a_prompt_waits_for_one_that_begins_as_it_does(
    harness: suite.Harness, alone: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is computed on that: both at once would be twice the work."""
    limit(monkeypatch, WIDE)
    texts = [f"{suite.MANY_SCRIPTS} {n}" for n in range(3)]
    asks: list[Callable[[], Finish]] = [
        lambda text=text: harness.ask(text, [suite.picture()], scope="alike", max_new_tokens=6)[0]  # type: ignore[misc]
        for text in texts
    ]
    answers = [future.result() for future in crowd(harness, asks)]
    expected = [alone.ask(text, [suite.picture()], max_new_tokens=6)[0] for text in texts]
    assert [finish.ids for finish in answers] == [finish.ids for finish in expected]
    assert sorted(finish.cached_tokens > 0 for finish in answers) == [False, True, True]


def test_a_prompt_that_cannot_be_filled_up_after_all_is_computed_as_it_is(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_of(fresh)._loop._prefilling, "_grain", 256)
    error = ValueError("only one row has this shape")
    fail(monkeypatch, shared_pass, "advance", error, lambda *_: True)
    assert QUESTIONS[0].ask(fresh) == answers[0]
