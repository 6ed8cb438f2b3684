"""What earlier requests left in memory is not computed again; it serves their caller only, within a limit."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from PIL import Image as Pictures
from transformers.models.timm_wrapper.modeling_timm_wrapper import TimmWrapperModelOutput

from shared.request import Image, Message, Parameters, Request, Text
from tests.engines import suite
from tests.engines.continuous.conftest import (
    LONG,
    Question,
    crowd,
    crowded,
    engine_of,
    loaded,
    noted,
    started,
)
from worker.engines.base import Cancelled, Finish, Row
from worker.engines.continuous.model_inputs import EncodedPictures
from worker.engines.continuous.prefix_cache import PrefixTree
from worker.engines.continuous.reuse_cache import ReuseCache
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


def about(harness: suite.Harness, before: str, shown: Image, scope: str) -> Finish:
    """What is answered about a picture behind some words."""
    message = Message(role="user", parts=(Text(text=before), shown, Text(text=ABOUT)))
    asked = Request(model="m", messages=(message,))
    prompt = harness.engine.prepare(asked, [suite.picture("green")], scope)
    return harness.engine.generate(Row(prompt, asked.parameters, lambda _: None, threading.Event()))


def test_a_prompt_that_was_asked_before_is_not_computed_again_and_is_counted(fresh: suite.Harness) -> None:
    assert [cached(fresh) for _ in range(3)] == [0, *[tokens(fresh)] * 2]
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


def test_equal_prompts_that_come_together_are_computed_once(
    harness: suite.Harness, encodings: list[Any]
) -> None:
    asked = Question(1, {**LONG, "scope": "together"})
    futures = crowd(harness, [lambda n=n: asked.ask(harness, seed=n) for n in range(4)])  # type: ignore[misc]
    finishes = [future.result() for future in futures]
    assert sorted(finish.cached_tokens > 0 for finish in finishes) == [False, True, True, True]
    assert len({finish.ids for finish in finishes}) == 4, "each has dice of its own"
    assert len(encodings) == 1


def test_of_several_pictures_only_the_new_one_is_encoded(
    harness: suite.Harness, encodings: list[Any]
) -> None:
    first, second = suite.picture("red"), suite.picture("blue")
    for shown in ([first], [first, second], [second, first], [second, second]):
        assert harness.ask("What are they?", shown, scope="several")[0].text
    assert len(encodings) == 2
    for shape in ((64, 48), (48, 64)):
        harness.ask("What is it?", [Pictures.new("RGB", shape, "red")], scope="several")
    assert len(encodings) == 4, "the same pixels in another shape are another picture"


@pytest.mark.parametrize(
    ("files", "times"), [((None, None, None), 1), (("a", "a", "a"), 1), (("a", "b", "a"), 2)]
)
def test_a_picture_is_encoded_once_wherever_it_stands_and_is_known_by_its_file(
    fresh: suite.Harness, encodings: list[Any], files: tuple[str | None, ...], times: int
) -> None:
    for number, file in enumerate(files):
        shown = Image(digest=file * 64) if file else Image()
        assert about(fresh, f"{number}. Look at this.", shown, "files").text
    assert len(encodings) == times


def test_a_picture_that_was_shrunk_for_its_neighbours_is_another_picture(fresh: suite.Harness) -> None:
    asked = Request(model="m", messages=(Message(role="user", parts=(Image(digest="a" * 64),)),))
    large, small = (
        fresh.engine.prepare(asked, [suite.picture().resize(size)], "sizes").inputs.shown[0].digest
        for size in ((64, 48), (32, 24))
    )
    assert large != small


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
    ledger = reuse_of(small)._ledger
    most = noted(monkeypatch, PrefixTree, "keep", lambda *_: ledger.bytes)
    assert ledger.limit == MB
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
    for size, limit in ((100, 25), (10_000, 1024)):
        assert reuse_of(started(shipped, options={"cache_mb": size}))._ledger.limit == limit * MB


def test_who_wants_nothing_kept_has_nothing_kept(shipped: LoadedModel) -> None:
    without = started(shipped, options={"reuse_mb": 0})
    assert [cached(without) for _ in range(2)] == [0, 0]
    assert reuse_of(without)._ledger.bytes == 0
    assert "; reuses nothing" in without.engine.reason
    assert without.engine.reused is None


def test_a_caller_who_leaves_halfway_leaves_nothing_wrong_behind(harness: suite.Harness) -> None:
    expected, _ = harness.ask(ABOUT, [suite.picture()], scope="complete", **LONG, seed=1)
    row = harness.row(ABOUT, [suite.picture()], scope="left", **LONG, seed=1)
    with pytest.raises(Cancelled):
        harness.engine.generate(replace(row, emit=lambda _: row.cancel.set()))
    finish, _ = harness.ask(ABOUT, [suite.picture()], scope="left", **LONG, seed=1)
    assert finish == expected
    assert finish.cached_tokens == tokens(harness)


def test_chats_side_by_side_are_answered_as_alone(harness: suite.Harness, alone: suite.Harness) -> None:
    """Turns that join and leave each other's batches, some of them on what others have just left."""

    def chat(engine: suite.Harness, number: int) -> list[tuple[int, ...]]:
        text, ids, scope = f"chat {number}: what is there?", list[tuple[int, ...]](), f"chat {number % 2}"
        for turn in range(4):
            finish, _ = engine.ask(text, [suite.picture()], scope=scope, max_new_tokens=9 + number)
            ids.append(finish.ids)
            text += f" {finish.text} And {turn}?"
        return ids

    with ThreadPoolExecutor(5) as pool:
        got = list(pool.map(partial(chat, harness), range(5)))
    assert got == [chat(alone, number) for number in range(5)]


def turn(engine: suite.Harness, said: list[tuple[str, str]], scope: str, **parameters: Any) -> Finish:
    messages = tuple(
        Message(role=role, parts=(*((Image(),) if at == 0 else ()), Text(text=text)))
        for at, (role, text) in enumerate(said)
    )
    asked = Request(model="m", messages=messages, parameters=Parameters(**parameters))
    prompt = engine.engine.prepare(asked, [suite.picture()], scope)
    return engine.engine.generate(Row(prompt, asked.parameters, lambda _: None, threading.Event()))


@pytest.mark.parametrize("most", [2, 3, 48], ids=["cut off", "cut off later", "ended"])
def test_a_chat_goes_on_from_the_last_token_of_the_answer_that_was_computed(
    harness: suite.Harness, alone: suite.Harness, most: int
) -> None:
    """The last token was drawn, and never fed: nothing is known of what follows it."""
    first = turn(harness, [("user", ABOUT)], f"turns {most}", max_new_tokens=most)
    said = [("user", ABOUT), ("assistant", first.text), ("user", "And now?")]
    later = turn(harness, said, f"turns {most}")
    assert later.cached_tokens == harness.row(ABOUT, [suite.picture()]).prompt.tokens + len(first.ids) - 1
    assert later.ids == turn(alone, said, "").ids


def test_pictures_are_reused_where_an_encoder_promises_more_outputs_than_the_model_reads() -> None:
    given = TimmWrapperModelOutput(last_hidden_state=torch.ones(1, 5, 8), pooler_output=torch.ones(1, 4, 8))
    encoded = EncodedPictures.of(given)
    assert encoded is not None
    assert encoded.part(1, 3).output().pooler_output.shape == (1, 2, 8)
