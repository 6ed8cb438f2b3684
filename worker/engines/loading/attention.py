"""transformers' attention by torch, without torch's path for heads that share keys where that is slow."""

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

KIND = "sdpa"


def sdpa(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """[rows, tokens, heads, width], as transformers computes it.

    Without a mask it asks torch for the path with `enable_gqa` (5.23, use_gqa_in_sdpa), with one it makes the
    heads that share keys the rows of one product. For one token a CPU takes seven times as long the first way
    in bfloat16, and no less in float32; for the many of a prompt both take the same.
    """
    shared = key.shape[1] < query.shape[1]
    if attention_mask is None and shared and query.shape[2] == 1 and query.device.type == "cpu":
        attention_mask = torch.ones(1, 1, 1, key.shape[2], dtype=torch.bool)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


# Under transformers' own name, because models and masks choose by it.
AttentionInterface.register(KIND, sdpa)
