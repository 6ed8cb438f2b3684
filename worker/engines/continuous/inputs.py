"""What a model is given beside tokens, and what of it rows can share; written for transformers 5.23."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.generation.utils import MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL

from worker.engines.continuous.refusal import Refusal

# Arguments that generate() passes to a decoding method but no forward pass takes.
MODE = ("tokenizer", "streamer", "synced_gpus", "assistant_model")
TYPES = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")
ENCODED = "mm_encoder_outputs"
KEPT = "logits_to_keep"
PIXELS = frozenset(MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL) - {ENCODED}
# Not needed to decode once the positions are given.
GIVEN = {
    *("input_ids", "inputs_embeds", "past_key_values", "position_ids", "attention_mask"),
    *("image_grid_thw", "video_grid_thw", "second_per_grid_ts"),
}


def forwarded(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `generate()`'s inputs that forward passes need.

    Once all pictures are encoded, numbers per picture tell nothing more (Molmo2's `image_num_crops`); where a
    model reads them all the same, it is not certified. Pixels may have a name that only their model knows.
    """
    named = {name: value for name, value in given.items() if name not in MODE}
    if any(name in PIXELS or _numbers(value) for name, value in named.items()):
        return named
    return {k: v for k, v in named.items() if not (torch.is_tensor(v) and v.ndim == 1)}


def _numbers(value: Any) -> bool:
    """Whether it may be pixels."""
    return torch.is_tensor(value) and value.is_floating_point()


def one_row(name: str, value: Any) -> Any:
    """The input of a row's next token. Raises Refusal if it has none of its own."""
    if torch.is_tensor(value) and not (value.ndim >= 2 and value.shape[0] == 1 and value.shape[-1] == 1):
        raise Refusal(f"its input {name} has no row of its own while decoding")
    return value


def alike(positions: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Positions with as many planes each.

    Prompts of MiniCPM-V 4.7 have [planes, 1, tokens] where they have pictures, [1, tokens] where not.
    """
    planes = max((one.shape[:-2] for one in positions), key=lambda shape: (len(shape), shape))
    return [one.expand(*planes, *one.shape[-2:]) for one in positions]
