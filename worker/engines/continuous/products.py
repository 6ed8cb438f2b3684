"""Attention of one new token per row as two matrix products, over keys that are stored value by value.

torch's own function is made for many queries; for one token's it takes up to half as long again in float32,
most where each head has keys of its own. In bfloat16 products gain more, but round the scores before the
softmax: what a layer adds would be off by 1 % instead of 0.2.
"""

from typing import Any

import torch


def stored(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Memory for keys [row, head, column, value]; the columns of one value lie side by side."""
    rows, heads, columns, width = shape
    return like.new_empty(rows, heads, width, columns).transpose(2, 3)


def gain(keys: torch.Tensor) -> bool:
    """Whether keys of this kind should be stored so."""
    return keys.device.type == "cpu" and keys.dtype is torch.float32


def possible(query: torch.Tensor, key: torch.Tensor, how: dict[str, Any]) -> bool:
    """Whether `attention` computes the same as torch's own function, and faster."""
    plain = not how.get("dropout") and how.get("position_bias") is None and how.get("softcap") is None
    return plain and query.shape[2] == 1 and key.stride(2) == 1 < key.stride(3) and gain(key)


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, scaling: float | None
) -> torch.Tensor:
    """[rows, 1, heads, width]; `mask` is None, or tells for each column whether it is seen, or is added."""
    rows, heads, _, width = query.shape
    shared = key.shape[1]
    factor = width**-0.5 if scaling is None else scaling
    # Heads that share keys are the rows of one product.
    scores = (query.reshape(rows, shared, -1, width) * factor) @ key.transpose(2, 3)
    if mask is not None:
        if mask.shape[1] > 1:
            mask = mask.reshape(mask.shape[0], shared, -1, mask.shape[-1])
        scores = scores.masked_fill_(~mask, -torch.inf) if mask.dtype is torch.bool else scores.add_(mask)
    return (scores.softmax(-1) @ value).reshape(rows, 1, heads, -1)
