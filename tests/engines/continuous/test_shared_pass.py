"""Prompts that come together share passes and calls of the encoder, and are understood as by themselves."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import pytest
import torch

from tests.engines import suite
from tests.engines.continuous.conftest import (
    LONG,
    QUESTIONS,
    ROWS,
    Question,
    asks,
    crowd,
    crowded,
    engine_of,
    fail,
    loaded,
    scarce,
    strangers,
)
from worker.engines.base import Cancelled, Finish
from worker.engines.continuous import shared_pass
from worker.engines.continuous.kv_slices import KVSlices
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.token_budget import PassLimits, PrefillPace
from worker.engines.sampling.processors import LogitsError

WIDE = PassLimits(tokens=4096, idle=4096)


@pytest.fixture(autouse=True)
def apart_from_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrefillPace, "mixes", lambda *_: False)


def limit(monkeypatch: pytest.MonkeyPatch, to: PassLimits) -> None:
    monkeypatch.setattr(PrefillPace, "limits", lambda _, **__: to)


def encodings(harness: suite.Harness, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the encoder took."""
    base = engine_of(harness)._loaded.network.base_model
    encode, calls = base.get_image_features, list[int]()

    @wraps(encode)
    def counted(*args: Any, **named: Any) -> Any:
        calls.append(len(named["pixel_values"]))
        return encode(*args, **named)

    monkeypatch.setattr(base, "get_image_features", counted)
    return calls


def test_prompts_that_come_together_share_a_pass_and_their_pictures_a_call(
    harness: suite.Harness,
    answers: list[Finish],
    passes: list[list[tuple[int, int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit(monkeypatch, WIDE)
    calls, asked = encodings(harness, monkeypatch), strangers(QUESTIONS[:ROWS], "together")
    assert crowded(harness, asked) == answers[:ROWS]
    assert [len(shared) for shared in passes] == [ROWS]
    assert calls == [sum(len(question.pictures) for question in asked)]


@pytest.mark.parametrize("chunk", [1, 9, 40])
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


def test_who_leaves_in_mid_prompt_leaves_the_others_of_its_pass_alone(
    harness: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, replace(WIDE, chunk=9))
    leaver = harness.row("What do we see?" * 3, [suite.picture()], scope="leaver", **LONG)
    advance, shared = shared_pass.advance, list[int]()

    def leaves(prefills: list[Prefill], ends: list[int], width: int) -> Any:
        shared.append(len(prefills))
        if len(shared) == 2:
            leaver.cancel.set()
        return advance(prefills, ends, width)

    monkeypatch.setattr(shared_pass, "advance", leaves)
    asked = strangers(QUESTIONS[:3], "beside a leaver")
    futures = crowd(harness, [lambda: harness.engine.generate(leaver), *asks(harness, asked)])
    assert isinstance(futures.pop(0).exception(), Cancelled)
    assert [future.result() for future in futures] == answers[:3]
    assert shared[1] > 1


def test_a_prompt_whose_numbers_are_none_fails_by_itself(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, WIDE)
    advance, row, ill = shared_pass.advance, KVSlices.row, list[int]()

    def finds_the_ill(prefills: list[Prefill], ends: list[int], width: int) -> Any:
        ill[:] = [at for at, prefill in enumerate(prefills) if prefill._config.max_new_tokens == 21]
        assert len(prefills) == ROWS
        return advance(prefills, ends, width)

    def none_of_the_ill(self: KVSlices, at: int, start: int, end: int) -> KVSlices:
        sound = row(self, at, start, end)
        for columns in sound.columns if at in ill else ():
            for part in columns:
                part.fill_(torch.nan)
        return sound

    monkeypatch.setattr(shared_pass, "advance", finds_the_ill)
    monkeypatch.setattr(KVSlices, "row", none_of_the_ill)
    asked = [Question(5, {"max_new_tokens": 21, "min_new_tokens": 21}), *QUESTIONS[:3]]
    futures = crowd(fresh, asks(fresh, strangers(asked, "ill")))
    assert isinstance(futures.pop(0).exception(), LogitsError)
    assert [future.result() for future in futures] == answers[:3]
    assert ill


def test_a_prompt_that_breaks_a_pass_fails_by_itself(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, WIDE)
    tried, error = list[int](), ValueError("Image features and image tokens do not match")

    def ill(prefills: list[Prefill], *_: Any) -> bool:
        tried.append(len(prefills))
        return any(prefill._config.max_new_tokens == 21 for prefill in prefills)

    fail(monkeypatch, Prefill, "advance", error, lambda prefill, *_: ill([prefill]))
    fail(monkeypatch, shared_pass, "advance", error, ill)
    asked = [Question(5, {"max_new_tokens": 21}), *QUESTIONS[:3]]
    futures = crowd(fresh, asks(fresh, strangers(asked, "broken")))
    assert isinstance(futures.pop(0).exception(), ValueError)
    assert [future.result() for future in futures] == answers[:3]
    assert tried == [ROWS, 1, 1, 1, 1]


def test_a_pass_without_memory_is_tried_with_fewer_prompts(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, WIDE)
    tried = list[int]()

    def missing(prefills: list[Prefill], *_: Any) -> bool:
        tried.append(len(prefills))
        return tried[-1] > 2

    scarce(monkeypatch, shared_pass, "advance", missing)
    assert crowded(fresh, strangers(QUESTIONS, "scarce")) == answers
    assert tried[:2] == [ROWS, 2]
    assert max(tried[1:]) == 2
    assert engine_of(fresh)._loop._capacity.rows == ROWS, "the rows had memory enough"


def test_pictures_that_cannot_be_encoded_together_are_encoded_one_by_one(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, WIDE)
    base = engine_of(fresh)._loaded.network.base_model
    encode, calls = base.get_image_features, list[int]()

    @wraps(encode)
    def scarce(*args: Any, **named: Any) -> Any:
        calls.append(len(named["pixel_values"]))
        if calls[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode(*args, **named)

    monkeypatch.setattr(base, "get_image_features", scarce)
    assert crowded(fresh, strangers(QUESTIONS[:ROWS], "one by one")) == answers[:ROWS]
    assert calls[0] > 1
    assert set(calls[1:]) == {1}


def test_in_bfloat16_a_prompt_by_itself_is_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, advance, widths = loaded(dtype="bfloat16"), shared_pass.advance, list[int]()

    def noted(prefills: list[Prefill], ends: list[int], width: int) -> Any:
        widths.append(width)
        return advance(prefills, ends, width)

    monkeypatch.setattr(shared_pass, "advance", noted)
    for question in QUESTIONS[:3]:
        question.ask(engine)
    assert widths
    assert all(width % 16 == 0 for width in widths)


def test_a_prompt_that_cannot_be_filled_up_after_all_is_computed_as_it_is(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_of(fresh)._loop._prefilling, "_grain", 256)
    error = ValueError("only one row has this shape")
    fail(monkeypatch, shared_pass, "advance", error, lambda *_: True)
    assert QUESTIONS[0].ask(fresh) == answers[0]
