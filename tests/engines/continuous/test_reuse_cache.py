"""What earlier requests left in memory is not computed again; it serves their caller only, within a limit."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.Image import Image as Picture

from shared.request import Image, Message, Parameters, Request, Text
from tests.engines import suite
from tests.engines.continuous.conftest import (
    LONG,
    crowd,
    crowded,
    engine_of,
    loaded,
    noted,
    shown_to_encoder,
    started,
)
from worker.engines.base import Cancelled, Finish, Row
from worker.engines.continuous import reuse_cache
from worker.engines.continuous.kv_cache import Past
from worker.engines.continuous.prompt_content import Mark
from worker.engines.continuous.reuse_cache import PrefixTree, common
from worker.engines.loading.loaded import LoadedModel

# The tree.

BYTES = 2 * 4
"""Of one token here: a key and a value of one float."""
CASES = settings(max_examples=100, deadline=None)
prompts = st.lists(st.integers(0, 2), min_size=1, max_size=7)


@pytest.fixture(autouse=True, scope="module")
def short_segments() -> Iterator[None]:
    """The prompts here are short; so are the pieces in which they are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reuse_cache, "SEGMENT", 1)
        yield


def past(marks: Sequence[Mark]) -> Past:
    """The column of each token is a number that stands for everything up to it."""
    seen = [hash(tuple(marks[: at + 1])) % 10**6 for at in range(len(marks))]
    keys = torch.tensor(seen, dtype=torch.float32).reshape(1, 1, -1, 1)
    return Past(((keys, -keys),))


def kept(tree: PrefixTree, *prompts: Sequence[int], scope: str = "") -> PrefixTree:
    for prompt in prompts:
        tree.keep(scope, tuple(prompt), past(prompt))
    return tree


def found(tree: PrefixTree, prompt: Sequence[int], scope: str = "", cuts: Sequence[int] = range(99)) -> int:
    """How many tokens are found, with the columns that they must have."""
    got = tree.find(scope, tuple(prompt), lambda at: at in cuts)
    pairs = zip(got[1].columns[0], past(prompt[: got[0]]).columns[0], strict=True) if got else ()
    assert all(torch.equal(mine, due) for mine, due in pairs)
    return got[0] if got else 0


@CASES
@given(st.lists(st.tuples(st.sampled_from("ab"), prompts), max_size=12), prompts)
def test_the_longest_known_beginning_is_found_with_its_own_columns(
    earlier: list[tuple[str, list[int]]], asked: list[int]
) -> None:
    tree = PrefixTree(2**20)
    for scope, prompt in earlier:
        kept(tree, prompt, scope=scope)
    for scope in "ab":
        longest = max((common(asked, prompt) for mine, prompt in earlier if mine == scope), default=0)
        # The last token is always computed, for its logits.
        assert found(tree, asked, scope) == min(longest, len(asked) - 1)
    beginnings = {(scope, *prompt[:end]) for scope, prompt in earlier for end in range(1, len(prompt) + 1)}
    assert tree.bytes == BYTES * len(beginnings), "what prompts have in common is there once"


@CASES
@given(st.lists(prompts, max_size=30), st.integers(1, 12))
def test_memory_stays_within_its_limit_and_its_books_are_right(earlier: list[list[int]], tokens: int) -> None:
    tree = PrefixTree(tokens * BYTES)
    for prompt in earlier:
        kept(tree, prompt)
        assert tree.bytes <= tree.limit
        assert len(prompt) > tokens or found(tree, [*prompt, 9]) == len(prompt), "the newest stays"
    tree.clear()
    assert tree.bytes == 0
    assert not any(found(tree, [*prompt, 9]) for prompt in earlier)


@pytest.mark.parametrize(
    ("room", "earlier", "known"),
    [
        (6, ([1, 1, 1], [2, 2, 2]), {(1, 1, 1): 3, (2, 2, 2): 1}),
        # Dropped before its branches, what they share would leave them in memory where nobody finds them.
        (4, ([1, 1, 1], [1, 1, 2]), {(1, 1, 1): 2}),
    ],
    ids=["the oldest", "a branch"],
)
def test_what_was_not_used_for_longest_goes_first(
    room: int, earlier: Sequence[list[int]], known: dict[tuple[int, ...], int]
) -> None:
    tree = kept(PrefixTree(room * BYTES), *earlier)
    assert found(tree, [*earlier[0], 0]) == 3
    kept(tree, [3, 3])
    assert {prompt: found(tree, [*prompt, 0]) for prompt in known} == known


def test_a_prompt_is_cut_only_where_it_may_be() -> None:
    tree = kept(PrefixTree(2**20), [1, 2, 3, 4, 5])
    assert found(tree, [1, 2, 3, 4, 9], cuts=[2, 5]) == 2
    assert found(tree, [1, 2, 3, 4, 9], cuts=[5]) == 0


def test_memory_that_runs_out_in_the_midst_of_keeping_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, clone, left = kept(PrefixTree(2**20), [1, 2, 3]), torch.Tensor.clone, iter([1])

    def scarce(one: torch.Tensor) -> torch.Tensor:
        if next(left, None) is None:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return clone(one)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "clone", scarce)
        with pytest.raises(torch.OutOfMemoryError):
            kept(tree, [1, 9, 9])
    assert found(tree, [1, 2, 3, 4]) == 3
    tree.clear()
    assert (tree.bytes, found(tree, [1, 2, 3, 4])) == (0, 0)


# The engine.

MB = 2**20
ABOUT = "What do we see in this image?"


def tree_of(harness: suite.Harness) -> PrefixTree:
    return engine_of(harness)._loop._reuse._tree


def cached(harness: suite.Harness, *pictures: Picture, **more: Any) -> int:
    return harness.ask(ABOUT, pictures or [suite.picture()], **more)[0].cached_tokens


def tokens(harness: suite.Harness, text: str = ABOUT, pictures: int = 1) -> int:
    """Of the prompt, but for its last one, which is always computed."""
    return harness.row(text, [suite.picture()] * pictures).prompt.tokens - 1


def test_a_prompt_that_was_asked_before_is_not_computed_again_and_is_counted(fresh: suite.Harness) -> None:
    known = tokens(fresh)
    assert [cached(fresh) for _ in range(3)] == [0, known, known]
    assert tree_of(fresh).bytes > 0


def test_another_caller_cannot_tell_what_was_asked(fresh: suite.Harness) -> None:
    assert [cached(fresh, scope=name) for name in ("one", "one", "other")] == [0, tokens(fresh), 0]


def test_of_a_prompt_that_is_not_to_be_stored_nothing_is_kept_or_told(fresh: suite.Harness) -> None:
    assert [cached(fresh, scope=None) for _ in range(2)] == [0, 0]
    assert tree_of(fresh).bytes == 0
    assert [cached(fresh), cached(fresh, scope=None)] == [0, 0]


@pytest.mark.parametrize("ends", [("", "", "", ""), ("1", "2", "3", "4")], ids=["equal", "alike"])
def test_what_prompts_that_come_together_have_in_common_is_computed_once(
    harness: suite.Harness, monkeypatch: pytest.MonkeyPatch, ends: Sequence[str]
) -> None:
    """Each waits for the first one: all at once would be several times the work."""
    encoded = shown_to_encoder(harness, monkeypatch)

    def ask(number: int) -> Finish:
        given = {**LONG, "scope": f"together {ends}", "seed": number}
        return harness.ask(f"{suite.MANY_SCRIPTS} {ends[number]}", [suite.picture()], **given)[0]

    finishes = [future.result() for future in crowd(harness, [partial(ask, n) for n in range(4)])]
    assert sorted(finish.cached_tokens > 0 for finish in finishes) == [False, True, True, True]
    assert len({finish.ids for finish in finishes}) == 4, "each has dice of its own"
    assert encoded == [1]


def test_of_several_pictures_only_those_behind_the_known_ones_are_encoded(
    harness: suite.Harness, alone: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, blue, green = (suite.picture(colour) for colour in ("red", "blue", "green"))
    encoded = shown_to_encoder(harness, monkeypatch)
    for shown, times in (([red], 1), ([red, blue], 1), ([red, blue, green, blue], 2), ([blue, red], 2)):
        encoded.clear()
        finish, _ = harness.ask("What are they?", shown, scope="several")
        assert finish.ids == alone.ask("What are they?", shown)[0].ids
        assert encoded == [times]
    encoded.clear()
    harness.ask("What are they?", [red, blue], scope="several")
    assert encoded == []


@pytest.mark.parametrize(
    ("files", "sizes", "known"),
    [
        ((None, None), ((64, 48), (64, 48)), True),
        ((None, None), ((64, 48), (48, 64)), False),
        (("a", "a"), ((64, 48), (64, 48)), True),
        (("a", "b"), ((64, 48), (64, 48)), False),
        (("a", "a"), ((64, 48), (32, 24)), False),
    ],
    ids=["pixels", "other shape", "file", "other file", "shrunk for its neighbours"],
)
def test_a_picture_is_known_by_its_file_and_size_or_by_its_pixels(
    fresh: suite.Harness, files: Sequence[str | None], sizes: Sequence[tuple[int, int]], known: bool
) -> None:
    for file, size in zip(files, sizes, strict=True):
        shown = Image(digest=file * 64) if file else Image()
        asked = Request(model="m", messages=(Message(role="user", parts=(shown, Text(text=ABOUT))),))
        prompt = fresh.engine.prepare(asked, [suite.picture().resize(size)], "files")
        last = fresh.engine.generate(Row(prompt, asked.parameters, lambda _: None, threading.Event()))
    assert last.cached_tokens == (prompt.tokens - 1 if known else 0)


def test_memory_stays_within_its_limit_and_answers_stay_the_same(
    shipped: LoadedModel, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = started(shipped, options={"reuse_mb": 1, "cache_mb": 64})
    tree = tree_of(small)
    most = noted(monkeypatch, PrefixTree, "keep", lambda *_: tree.bytes)
    assert tree.limit == MB
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
        assert tree_of(started(shipped, options={"cache_mb": size})).limit == limit * MB


def test_who_wants_nothing_kept_has_nothing_kept(shipped: LoadedModel) -> None:
    without = started(shipped, options={"reuse_mb": 0})
    assert [cached(without) for _ in range(2)] == [0, 0]
    assert tree_of(without).bytes == 0
    assert "; reuses nothing" in without.engine.reason


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


@pytest.mark.parametrize("most", [2, 48], ids=["cut off", "ended"])
def test_a_chat_goes_on_from_the_last_token_of_the_answer_that_was_computed(
    harness: suite.Harness, alone: suite.Harness, most: int
) -> None:
    """The last token was drawn, and never fed: nothing is known of what follows it."""
    first = turn(harness, [("user", ABOUT)], f"turns {most}", max_new_tokens=most)
    said = [("user", ABOUT), ("assistant", first.text), ("user", "And now?")]
    later = turn(harness, said, f"turns {most}")
    assert later.cached_tokens == harness.row(ABOUT, [suite.picture()]).prompt.tokens + len(first.ids) - 1
    assert later.ids == turn(alone, said, "").ids
