"""What is kept of prompts is found where it belongs, within its memory, and is not written into."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Config
from transformers.cache_utils import DynamicCache, LinearAttentionLayer

from worker.engines.continuous.kv_slices import KVSlices, RecurrentState, cut, record
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


def test_memory_that_runs_out_in_the_midst_of_keeping_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes, ledger = _prefixes()
    prefixes.keep("", [1, 2, 3], past([1, 2, 3]))
    left = iter([1])

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


TOKENS = 7


def columns(layers: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    numbers = torch.arange(layers * 2 * TOKENS, dtype=torch.float32).reshape(layers, 2, 1, 1, TOKENS, 1)
    return [(keys, values) for keys, values in numbers]


def updated(cache: DynamicCache, tokens: slice) -> list[torch.Tensor]:
    """What each layer attends to once these tokens are there."""
    return [
        cache.update(keys[:, :, tokens], values[:, :, tokens], layer)[0]
        for layer, (keys, values) in enumerate(columns(2))
    ]


def test_a_cache_that_makes_its_layers_as_tokens_come_is_filled_as_well() -> None:
    whole, filled = DynamicCache(), DynamicCache()
    updated(whole, slice(0, 4))
    KVSlices.of(whole).fill(filled)
    assert filled.get_seq_length() == 4
    pairs = zip(updated(filled, slice(4, 7)), updated(whole, slice(4, 7)), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_a_window_reaches_back_into_what_is_kept() -> None:
    """Of a row longer than the window, cut where the window had moved on already."""
    config = Qwen2Config(
        num_hidden_layers=2, use_sliding_window=True, sliding_window=3, layer_types=["sliding_attention"] * 2
    )
    long, filled, alone = (DynamicCache(config=config) for _ in range(3))
    record(long)
    updated(long, slice(0, 7))
    kept = KVSlices.of(long)
    KVSlices(tuple((keys[:, :, :4], values[:, :, :4]) for keys, values in kept.columns)).fill(filled)
    record(filled)
    updated(alone, slice(0, 4))
    assert filled.get_mask_sizes(1, 0) == alone.get_mask_sizes(1, 0)
    pairs = zip(updated(filled, slice(4, 5)), updated(alone, slice(4, 5)), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_a_state_is_copied_both_ways() -> None:
    first, second = LinearAttentionLayer(), LinearAttentionLayer()
    first.update_conv_state(torch.ones(1, 2, 4))
    first.update_recurrent_state(torch.ones(1, 2, 2))
    kept = RecurrentState.of(first)
    kept.fill(second)
    for layer in (first, second):
        layer.update_recurrent_state(torch.zeros(1, 2, 2))
        layer.update_conv_state(torch.zeros(1, 2, 4))
    third: Any = LinearAttentionLayer()
    kept.fill(third)
    assert third.recurrent_states[0].sum() == 4
    assert third.conv_states[0].sum() == 8
    assert kept.bytes == (4 + 8) * 4
