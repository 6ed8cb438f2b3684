"""Causal attention in blocks of queries, each over the keys before it: for training on a CPU.

Half of the full square is never computed, and the rest stays in the processor's cache. The backward pass is
written by hand: autograd's copies each block several times, which makes a step a third longer. torch's fused
attention is slower still, above all backward.
"""

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

NAME = "causal blocks"
BLOCK = 64


class CausalBlocks(torch.autograd.Function):
    """Of (rows * heads, length, width), all of one dtype, the query scaled."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        later = torch.ones(BLOCK, BLOCK, dtype=torch.bool).triu(1)
        mixed, shares = torch.empty_like(value), []
        for begin, end in _blocks(query):
            scores = query[:, begin:end] @ key[:, :end].transpose(1, 2)
            scores[..., begin:].masked_fill_(later[: end - begin, : end - begin], float("-inf"))
            shares.append(scores.softmax(-1))
            mixed[:, begin:end] = shares[-1] @ value[:, :end]
        ctx.save_for_backward(query, key, value, *shares)
        return mixed

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, key, value, *shares = ctx.saved_tensors
        to_query = torch.empty_like(query)
        # In float32: otherwise what later blocks add would be rounded away.
        to_key, to_value = (torch.zeros(x.shape) for x in (key, value))
        for (begin, end), share in zip(_blocks(query), shares, strict=True):
            grad = grads[0][:, begin:end]
            to_value[:, :end] += share.transpose(1, 2) @ grad
            to_share = grad @ value[:, :end].transpose(1, 2)
            to_scores = torch._softmax_backward_data(to_share, share, -1, share.dtype)
            to_query[:, begin:end] = to_scores @ key[:, :end]
            to_key[:, :end] += to_scores.transpose(1, 2) @ query[:, begin:end]
        return to_query, to_key.to(key.dtype), to_value.to(value.dtype)


def _blocks(query: torch.Tensor) -> list[tuple[int, int]]:
    length = query.shape[1]
    return [(begin, min(begin + BLOCK, length)) for begin in range(0, length, BLOCK)]


def causal_blocks(
    module: nn.Module,  # noqa: ARG001 (the signature is Transformers')
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 (rows are padded at their ends, where nothing is learnt)
    scaling: float,
    **unused: Any,  # noqa: ARG001
) -> tuple[torch.Tensor, None]:
    rows, heads = query.shape[:2]
    alike = (x.to(value.dtype).flatten(0, 1) for x in (query * scaling, key, value))
    mixed: torch.Tensor = CausalBlocks.apply(*alike)  # type: ignore[no-untyped-call]
    return mixed.view(rows, heads, *mixed.shape[1:]).transpose(1, 2), None


AttentionInterface.register(NAME, causal_blocks)
