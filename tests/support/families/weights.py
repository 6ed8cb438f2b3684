"""Random weights under which a greedy answer depends on every token and every pixel before it."""

import re
from typing import Any

import torch
from transformers import PreTrainedModel

# More than the usual 1 / sqrt(inputs): with less, greedy text soon repeats one token.
GAIN = 1.5
# Where queries and keys are normalised, attention would look everywhere alike.
QUERY_OR_KEY = re.compile(r"[._][qk]_(?:layer)?norm\b")


def sharpen(model: PreTrainedModel, *, end: list[int], pad: int, seed: int) -> None:
    """Draw all weights anew, in place; answers end at any of the ids `end`."""
    rng = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            scale = GAIN * weight[0].numel() ** -0.5
            if "embed_tokens" in name:  # Gemma's multiply what they hold
                scale = 1.0 / float(getattr(model.get_submodule(name.rpartition(".")[0]), "embed_scale", 1))
            weight.data = torch.randn(weight.shape, generator=rng) * scale
        elif QUERY_OR_KEY.search(name):
            weight.data = torch.full_like(weight, 2.0)
        elif "gate" in name:  # closed where training begins
            weight.data = torch.ones_like(weight)
    config: Any = model.generation_config
    config.eos_token_id, config.pad_token_id = end, pad
    config.bos_token_id, config.do_sample = None, False
