"""What earlier requests left in memory is not computed again; it serves their caller only, within a limit."""

import threading
from dataclasses import replace
from typing import Any

import pytest
import torch

from shared.request import Image, Message, Request, Text
from tests.engines import suite
from tests.engines.continuous.conftest import (
    LONG,
    Question,
    crowd,
    crowded,
    drop_idle,
    engine_of,
    fail,
    loaded,
    scarce,
    started,
)
from tests.support.patience import PATIENCE_S
from worker.engines.base import Cancelled, Finish, Row
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.prefix_cache import PrefixTree
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.sampling import Sampler
from worker.engines.loading.loaded import LoadedModel

MB = 2**20
ABOUT = "What do we see in this image?"


def reuse_of(harness: suite.Harness) -> ReuseCache:
    return engine_of(harness)._loop._reuse


def cached(harness: suite.Harness, text: str = ABOUT, pictures: int = 1, **more: Any) -> int:
    shown = [suite.picture(colour) for colour in ("red", "blue", "green")[:pictures]]
    return harness.ask(text, shown, **more)[0].cached_tokens


def tokens(harness: suite.Harness, text: str = ABOUT, pictures: int = 1) -> int:
    return harness.row(text, [suite.picture()] * pictures).prompt.tokens


def test_a_prompt_that_was_asked_before_is_not_computed_again(harness: suite.Harness) -> None:
    assert [cached(harness, scope="again") for _ in range(2)] == [0, tokens(harness)]


def test_what_was_known_is_counted(fresh: suite.Harness) -> None:
    for _ in range(3):
        fresh.ask(ABOUT, [suite.picture()])
    counts = fresh.engine.reused
    assert counts is not None
    assert (counts.prompts, counts.hits, counts.cached_tokens) == (3, 2, 2 * tokens(fresh))
    assert counts.bytes == reuse_of(fresh)._ledger.bytes > 0


def test_another_caller_cannot_tell_what_was_asked(harness: suite.Harness, encodings: list[Any]) -> None:
    assert [cached(harness, scope=name) for name in ("one", "one", "other")] == [0, tokens(harness), 0]
    assert len(encodings) == 2, "the other caller's picture is encoded anew"
    asked = harness.row(ABOUT, [suite.picture(), suite.picture("blue")], scope="a third")
    assert all(picture.inputs for picture in asked.prompt.inputs.shown), "and made ready anew"


def test_of_a_prompt_that_is_not_to_be_stored_nothing_is_kept_or_told(
    fresh: suite.Harness, encodings: list[Any]
) -> None:
    assert [cached(fresh, scope=None) for _ in range(2)] == [0, 0]
    assert reuse_of(fresh)._ledger.bytes == 0
    assert [cached(fresh), cached(fresh, scope=None)] == [0, 0]
    assert len(encodings) == 1, "of those that are kept"


def test_what_one_caller_does_to_the_logits_stays_with_them(
    harness: suite.Harness, alone: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    processed_scores = Sampler.processed_scores

    def scribbling(self: Sampler, logits: torch.Tensor) -> torch.Tensor:
        scores = processed_scores(self, logits).clone()
        logits.zero_()
        return scores

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "processed_scores", scribbling)
        harness.ask(ABOUT, [suite.picture()], scope="scribbles", temperature=1.5)
    asked = harness.ask(ABOUT, [suite.picture()], scope="scribbles")[0]
    assert asked.cached_tokens
    assert asked == alone.ask(ABOUT, [suite.picture()])[0]


def test_equal_prompts_that_come_together_are_computed_once(
    harness: suite.Harness, encodings: list[Any]
) -> None:
    asked = Question(1, {**LONG, "scope": "together"})
    futures = crowd(harness, [lambda n=n: asked.ask(harness, seed=n) for n in range(4)])  # type: ignore[misc]
    finishes = [future.result() for future in futures]
    assert sorted(finish.cached_tokens > 0 for finish in finishes) == [False, True, True, True]
    assert len({finish.ids for finish in finishes}) == 4, "each has dice of its own"
    assert len(encodings) == 1


def test_a_picture_that_many_ask_about_is_encoded_once_wherever_it_stands(
    harness: suite.Harness, encodings: list[Any]
) -> None:
    for number in range(4):
        before = Message(role="user", parts=(Text(text=f"{number}. Look at this."),))
        shown = Message(role="user", parts=(Image(), Text(text=ABOUT)))
        asked = Request(model="m", messages=(before, shown))
        prompt = harness.engine.prepare(asked, [suite.picture("green")], "a picture")
        row = Row(prompt, asked.parameters, lambda _: None, threading.Event())
        assert harness.engine.generate(row).cached_tokens < prompt.image_tokens
    assert len(encodings) == 1


def test_of_several_pictures_only_the_new_one_is_encoded(
    harness: suite.Harness, encodings: list[Any]
) -> None:
    first, second = suite.picture("red"), suite.picture("blue")
    for shown in ([first], [first, second], [second, first], [second, second]):
        finish, _ = harness.ask("What are they?", shown, scope="several")
        assert finish.text
    assert len(encodings) == 2


@pytest.mark.parametrize(("first", "second", "times"), [("a", "a", 1), ("a", "b", 2)])
def test_a_picture_is_known_by_its_file(
    fresh: suite.Harness, encodings: list[Any], first: str, second: str, times: int
) -> None:
    for number, file in enumerate((first, second)):
        parts = (Text(text=f"{number}."), Image(digest=file * 64), Text(text=ABOUT))
        asked = Request(model="m", messages=(Message(role="user", parts=parts),))
        prompt = fresh.engine.prepare(asked, [suite.picture()], "files")
        fresh.engine.generate(Row(prompt, asked.parameters, lambda _: None, threading.Event()))
    assert len(encodings) == times


def test_a_picture_that_was_shrunk_for_its_neighbours_is_another_picture(fresh: suite.Harness) -> None:
    asked = Request(model="m", messages=(Message(role="user", parts=(Image(digest="a" * 64),)),))
    large, small = (
        fresh.engine.prepare(asked, [suite.picture().resize(size)], "sizes").inputs.shown[0].digest
        for size in ((64, 48), (32, 24))
    )
    assert large != small


def test_several_pictures_are_each_prepared_once(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, pictures = list[int](), engine_of(fresh)._loaded.renderer._processor.image_processor
    prepare = type(pictures)._preprocess

    def noted(self: Any, images: Any, *given: Any, **named: Any) -> Any:
        prepared.append(len(images))
        return prepare(self, images, *given, **named)

    monkeypatch.setattr(type(pictures), "_preprocess", noted)
    row = fresh.row("What are they?", [suite.picture("red"), suite.picture("blue")])
    assert prepared == [2]
    assert len(row.prompt.inputs.shown) == 2


def test_a_picture_that_is_forgotten_in_the_last_moment_is_encoded_with_the_others(
    harness: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = engine_of(harness)._reader
    monkeypatch.setattr(reader, "_what", replace(reader._what, slices=False))
    pictures = [suite.picture("red"), suite.picture("blue")]
    expected, _ = harness.ask("What are they?", pictures, scope="forgotten")
    row = harness.row("What are they?", pictures, scope="forgotten")
    assert [shown.inputs for shown in row.prompt.inputs.shown] == [None, None]
    reuse_of(harness)._ledger.clear()
    assert harness.engine.generate(row) == expected


def test_memory_stays_within_its_limit_and_answers_stay_the_same(
    shipped: LoadedModel, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = started(shipped, options={"reuse_mb": 1, "cache_mb": 64})
    reuse, most = reuse_of(small), list[int]()
    keep = PrefixTree.keep

    def watched(self: PrefixTree, *given: Any) -> None:
        keep(self, *given)
        most.append(reuse._ledger.bytes)

    monkeypatch.setattr(PrefixTree, "keep", watched)
    assert reuse._ledger.limit == MB
    for _ in range(2):
        assert crowded(small) == answers
    assert MB // 2 < max(most) <= MB


def test_rows_and_what_is_kept_share_the_memory_of_the_cache() -> None:
    whole, shared, most = (
        loaded(options={"cache_mb": 4, "reuse_mb": megabytes}).engine.facts.context_length
        for megabytes in (0, 1, 100)
    )
    assert shared == pytest.approx(whole * 3 / 4, abs=1)
    assert most == pytest.approx(whole / 2, abs=1)


def test_by_default_a_quarter_is_kept_and_no_more_of_main_memory_than_others_can_bear(
    shipped: LoadedModel,
) -> None:
    harnesses = [started(shipped, options={"cache_mb": size}) for size in (100, 10_000)]
    limits = [reuse_of(harness)._ledger.limit for harness in harnesses]
    assert limits == [25 * MB, 1024 * MB]


def test_who_wants_nothing_kept_has_nothing_kept(shipped: LoadedModel) -> None:
    without = started(shipped, options={"reuse_mb": 0})
    assert [cached(without) for _ in range(2)] == [0, 0]
    assert reuse_of(without)._ledger.bytes == 0
    assert "; reuses nothing" in without.engine.reason
    assert without.engine.reused is None


def test_without_memory_what_is_kept_goes_before_any_row_does(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, reuse = [1], reuse_of(fresh)
    limit = reuse._ledger.limit

    def missing(_: Batch, tokens: list[int], *__: Any) -> bool:
        return bool(len(tokens) > 2 and left and reuse._ledger.bytes and left.pop())

    scarce(monkeypatch, Batch, "mixed_step", missing)
    assert crowded(fresh) == answers
    assert not left
    assert engine_of(fresh)._loop._capacity.rows == 4
    assert reuse._ledger.limit == limit // 2


def test_a_prompt_alone_without_memory_is_tried_without_what_was_kept_and_then_in_halves(
    fresh: suite.Harness, alone: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cached(fresh) == 0
    tries = list[int]()
    drop_idle(fresh)

    def missing(prefill: Prefill, *_: Any) -> bool:
        tries.append(reuse_of(fresh)._ledger.bytes)
        return len(tries) == 1 or prefill._config.max_new_tokens == 13

    scarce(monkeypatch, Prefill, "advance", missing)
    assert fresh.ask("Another question")[0] == alone.ask("Another question")[0]
    assert tries[0] > tries[1] == 0
    tries.clear()
    drop_idle(fresh)
    with pytest.raises(torch.OutOfMemoryError):
        fresh.ask("It never fits", [suite.picture("green")], max_new_tokens=13)
    # Whole, whole again without what was kept, and two halves: a quarter would be too short.
    assert len(tries) == 4


def test_memory_that_runs_out_for_keeping_costs_no_answer(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce(monkeypatch, PrefixTree, "keep", lambda *_: True)
    assert crowded(fresh) == answers


def test_a_caller_who_leaves_halfway_leaves_nothing_wrong_behind(harness: suite.Harness) -> None:
    expected, _ = harness.ask(ABOUT, [suite.picture()], scope="complete", **LONG, seed=1)
    row = harness.row(ABOUT, [suite.picture()], scope="left", **LONG, seed=1)
    with pytest.raises(Cancelled):
        harness.engine.generate(replace(row, emit=lambda _: row.cancel.set()))
    finish, _ = harness.ask(ABOUT, [suite.picture()], scope="left", **LONG, seed=1)
    assert finish == expected
    assert finish.cached_tokens == tokens(harness)


def test_rows_taken_out_and_computed_again_find_their_own_prompts(
    fresh: suite.Harness, alone: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes a step fail is not memory: all rows leave, and each goes on by itself."""
    computed, failing = list[int](), [True]

    def together(_: Batch, tokens: list[int], *__: Any) -> bool:
        if first := len(tokens) == 3 and bool(failing) and failing.pop():
            computed.clear()
        return first

    chunk = Prefill._chunk

    def counted(self: Prefill, end: int) -> Any:
        computed.append(end - self.done)
        return chunk(self, end)

    fail(monkeypatch, Batch, "mixed_step", RuntimeError("a moment's weakness"), together)
    monkeypatch.setattr(Prefill, "_chunk", counted)
    long = [Question(number, {**LONG, "seed": number}) for number in range(3)]
    assert crowded(fresh, long) == [question.ask(alone) for question in long]
    assert not failing
    assert computed == []


def test_chats_side_by_side_are_answered_as_alone(harness: suite.Harness, alone: suite.Harness) -> None:
    """Turns that join and leave each other's batches, some of them on what others have just left."""

    def chat(engine: suite.Harness, number: int) -> list[tuple[int, ...]]:
        text, ids = f"chat {number}: what is there?", list[tuple[int, ...]]()
        for turn in range(4):
            finish, _ = engine.ask(
                text, [suite.picture("red")], scope=f"chat {number % 2}", max_new_tokens=9 + number
            )
            ids.append(finish.ids)
            text += f" {finish.text} And {turn}?"
        return ids

    expected = [chat(alone, number) for number in range(5)]
    got: dict[int, list[tuple[int, ...]]] = {}
    threads = [
        threading.Thread(target=lambda n=number: got.update({n: chat(harness, n)})) for number in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [got[number] for number in range(5)] == expected
