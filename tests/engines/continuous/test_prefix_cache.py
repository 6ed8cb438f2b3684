"""What is kept of prompts is found again where it belongs, and nowhere else, within its memory."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.engines.continuous.kv_slices import KVSlices, RecurrentState, cut
from worker.engines.continuous.prefix_cache import Mark, PrefixTree, ReuseBudget

BYTES = 2 * 4
"""Of one token here: a key and a value of one float."""
PLENTY = 2**20


def past(marks: Sequence[Mark], *states: RecurrentState) -> KVSlices:
    """The column of each token is a number that stands for everything up to it."""
    seen = [hash(tuple(marks[: at + 1])) % 10**6 for at in range(len(marks))]
    keys = torch.tensor(seen, dtype=torch.float32).reshape(1, 1, -1, 1)
    return KVSlices(((keys, -keys),), states)


def state(number: float) -> RecurrentState:
    tensors = {"conv_states": {0: torch.tensor([[number]])}, "recurrent_states": {}}
    return RecurrentState(tensors, {}, torch.float32, torch.device("cpu"))


def anywhere(_: int) -> bool:
    return True


def common(one: Sequence[Mark], other: Sequence[Mark]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def same(found: KVSlices, expected: KVSlices) -> bool:
    pairs = zip(found.columns[0], expected.columns[0], strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


CASES = settings(max_examples=100, deadline=None)
prompts = st.lists(st.integers(0, 2), min_size=1, max_size=7)


@CASES
@given(st.lists(st.tuples(st.sampled_from("ab"), prompts), max_size=12), prompts)
def test_the_longest_known_beginning_is_found_with_its_own_columns(
    kept: list[tuple[str, list[int]]], asked: list[int]
) -> None:
    prefixes, ledger = _prefixes()
    for scope, prompt in kept:
        prefixes.keep(scope, prompt, past(prompt))
    for scope in "ab":
        longest = max((common(asked, prompt) for mine, prompt in kept if mine == scope), default=0)
        found = prefixes.find(scope, asked, anywhere)
        # The last token is always computed, for its logits.
        assert (found.tokens if found else 0) == min(longest, len(asked) - 1)
        assert not found or same(found.past, past(asked[: found.tokens]))
    beginnings = {(scope, *prompt[:end]) for scope, prompt in kept for end in range(1, len(prompt) + 1)}
    assert ledger.bytes == BYTES * len(beginnings), "what prompts have in common is there once"


@CASES
@given(st.lists(prompts, max_size=30), st.integers(1, 12))
def test_memory_stays_within_its_limit_and_its_books_are_right(kept: list[list[int]], tokens: int) -> None:
    prefixes, ledger = _prefixes(tokens * BYTES)
    for prompt in kept:
        prefixes.keep("", prompt, past(prompt))
        assert ledger.bytes <= ledger.limit
        found = prefixes.find("", [*prompt, 9], anywhere)
        assert len(prompt) > tokens or (found and found.tokens == len(prompt)), "the newest stays"
        assert not found or same(found.past, past(prompt[: found.tokens]))
    ledger.clear()
    assert ledger.bytes == 0
    assert all(prefixes.find("", [*prompt, 9], anywhere) is None for prompt in kept)


def test_what_was_not_used_for_longest_goes_first() -> None:
    prefixes, _ = _prefixes(6 * BYTES)
    for prompt in ([1, 1, 1], [2, 2, 2]):
        prefixes.keep("", prompt, past(prompt))
    assert prefixes.find("", [1, 1, 1, 0], anywhere)
    prefixes.keep("", [3, 3], past([3, 3]))
    assert prefixes.find("", [1, 1, 1, 0], anywhere)
    assert prefixes.find("", [2, 2, 2, 0], anywhere) is None


def test_a_whole_prompt_comes_with_the_logits_behind_it() -> None:
    prefixes, _ = _prefixes()
    logits = torch.tensor([[1.0, 2.0]])
    prefixes.keep("", [1, 2, 3, 4], past([1, 2, 3, 4]))
    prefixes.keep("", [1, 2, 3], past([1, 2, 3]), logits)
    found = prefixes.find("", [1, 2, 3], lambda _: False)
    assert found is not None
    assert (found.tokens, found.logits) == (3, logits)
    assert same(found.past, past([1, 2, 3]))
    part = prefixes.find("", [1, 2, 3, 5], anywhere)
    assert part is not None
    assert (part.tokens, part.logits) == (3, None)


def test_a_prompt_is_cut_only_where_it_may_be() -> None:
    prefixes, _ = _prefixes()
    prefixes.keep("", [1, 2, 3, 4, 5], past([1, 2, 3, 4, 5]))
    found = prefixes.find("", [1, 2, 3, 4, 9], lambda at: at in (2, 5))
    assert found is not None
    assert found.tokens == 2
    assert prefixes.find("", [1, 2, 3, 4, 9], lambda at: at == 5) is None


def test_a_recurrent_state_serves_only_where_it_was_taken() -> None:
    prefixes, _ = _prefixes()
    prefixes.keep("", [1, 2, 3, 4], past([1, 2, 3, 4], state(4)))
    prefixes.keep("", [1, 2, 5], past([1, 2, 5], state(5)))
    prefixes.keep("", [1, 2, 3, 4, 6], past([1, 2, 3, 4, 6], state(6)))
    for asked, tokens, taken in (([1, 2, 3, 4, 7], 4, 4), ([1, 2, 3, 4, 6, 7], 5, 6), ([1, 2, 5, 5], 3, 5)):
        found = prefixes.find("", asked, anywhere)
        assert found is not None
        assert (found.tokens, found.past.states) == (tokens, (state(taken),))
    assert prefixes.find("", [1, 2, 3, 9], anywhere) is None
    assert prefixes.find("", [1, 2, 9], anywhere) is None


def test_the_same_placeholder_of_another_picture_is_another_token() -> None:
    prefixes, _ = _prefixes()
    shown: list[Mark] = [7, ("red", 0), ("red", 1), 8]
    prefixes.keep("", shown, past(shown))
    cases: list[tuple[list[Mark], int]] = [
        ([7, ("red", 0), ("red", 1), 9], 3),
        ([7, ("blue", 0), ("blue", 1), 8], 1),
    ]
    for asked, tokens in cases:
        found = prefixes.find("", asked, anywhere)
        assert found is not None
        assert found.tokens == tokens


def test_what_does_not_fit_at_all_drives_nothing_else_out() -> None:
    prefixes, ledger = _prefixes(4 * BYTES)
    prefixes.keep("", [1, 2], past([1, 2]))
    prefixes.keep("", [2] * 5, past([2] * 5))
    prefixes.keep("", [1, 2, 3, 4, 5], past([1, 2, 3, 4, 5]))
    assert ledger.bytes == 2 * BYTES
    assert prefixes.find("", [1, 2, 0], anywhere)


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_memory_that_runs_out_in_the_midst_of_keeping_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    prefixes, ledger = _prefixes()
    prefixes.keep("", [1, 2, 3], past([1, 2, 3]))
    left = iter(range(copies))

    def scarce(*given: Any) -> Any:
        if next(left, None) is None:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return cut(*given)

    monkeypatch.setattr("worker.engines.continuous.prefix_cache.cut", scarce)
    with pytest.raises(torch.OutOfMemoryError):
        prefixes.keep("", [1, 9, 9], past([1, 9, 9]))
    found = prefixes.find("", [1, 2, 3, 4], anywhere)
    assert found is not None
    assert same(found.past, past([1, 2, 3]))
    ledger.clear()
    assert ledger.bytes == 0
    assert prefixes.find("", [1, 2, 3, 4], anywhere) is None


def _prefixes(limit: int = PLENTY) -> tuple[PrefixTree, ReuseBudget]:
    ledger = ReuseBudget(limit)
    return PrefixTree(ledger), ledger


def test_what_prompts_have_in_common_is_used_whenever_one_of_them_is() -> None:
    """Dropped before its branches, it would leave them in memory where nobody finds them."""
    prefixes, _ = _prefixes(4 * BYTES)
    for prompt in ([1, 1, 1], [1, 1, 2]):
        prefixes.keep("", prompt, past(prompt))
    assert prefixes.find("", [1, 1, 1, 0], anywhere)
    prefixes.keep("", [3, 3], past([3, 3]))
    found = prefixes.find("", [1, 1, 1, 0], anywhere)
    assert found
    assert found.tokens == 2
