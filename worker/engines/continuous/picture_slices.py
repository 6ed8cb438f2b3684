"""Each picture's part of what a processor made of several, so that none is prepared a second time by itself.

Written for transformers 5.23, whose processors say how many pieces a picture of a size becomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import BatchFeature

from shared.errors import CallerError
from worker.engines.base import Prompt
from worker.engines.continuous.model_inputs import encoder_inputs, numbers
from worker.engines.loading.loaded import LoadedModel
from worker.engines.loading.torch_errors import UNFIT
from worker.engines.prompt.picture_tokens import TRIED, Size, noise


@dataclass(frozen=True)
class PictureSlice:
    """The placeholder `tokens` of one picture, and the encoder's `inputs` of it alone."""

    tokens: int
    inputs: BatchFeature


def slices(loaded: LoadedModel, prompt: Prompt, sizes: Sequence[Size]) -> list[PictureSlice]:
    """A slice for each picture; empty where the lengths of the tensors do not tell them."""
    names = encoder_inputs(loaded.network)
    inputs = {name: value for name, value in sorted(prompt.inputs.items()) if name in names}
    pieces = loaded.renderer.picture_pieces(sizes)
    shares = [divmod(prompt.image_tokens * count, sum(pieces)) for count in pieces]
    parts = {name: _split(value, pieces) for name, value in inputs.items()}
    whole = all(parts.values()) and not any(rest for _, rest in shares)
    if not (whole and any(map(numbers, inputs.values()))):
        return []
    return [
        PictureSlice(tokens, BatchFeature({name: part[at] for name, part in parts.items() if part}))
        for at, (tokens, _) in enumerate(shares)
    ]


def slices_are_exact(loaded: LoadedModel) -> bool:
    """Whether made-up pictures of awkward sizes have the very tensors that each has by itself."""
    pictures = [noise(size) for size in TRIED]
    try:
        prompts = [
            loaded.renderer.pictures_prompt(shown)
            for shown in (pictures, *([picture] for picture in pictures))
        ]
    except (CallerError, *UNFIT):
        return False
    parts = slices(loaded, prompts[0], TRIED)
    return bool(parts) and all(map(_same, parts, prompts[1:]))


def _split(value: Any, pieces: Sequence[int]) -> Sequence[torch.Tensor] | None:
    """Along the axis that counts pictures or their pieces; None if neither of the first two does."""
    if not torch.is_tensor(value) or not value.ndim:
        return None
    if len(value) == len(pieces):
        return torch.split(value, 1)
    if len(value) == sum(pieces):
        return torch.split(value, [*pieces])
    if len(value) == 1 and value.ndim > 1 and value.shape[1] == sum(pieces):
        return torch.split(value, [*pieces], 1)
    return None


def _same(part: PictureSlice, alone: Prompt) -> bool:
    return part.tokens == alone.image_tokens and all(
        value.dtype == alone.inputs[name].dtype and torch.equal(value, alone.inputs[name])
        for name, value in part.inputs.items()
    )
