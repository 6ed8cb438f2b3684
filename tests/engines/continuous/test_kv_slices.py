"""What is kept of a row fills a cache as if the row had been computed in it, and is not written into."""

from typing import Any

import torch
from transformers import Qwen2Config
from transformers.cache_utils import DynamicCache, LinearAttentionLayer

from worker.engines.continuous.kv_slices import KVSlices, RecurrentState, record

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
