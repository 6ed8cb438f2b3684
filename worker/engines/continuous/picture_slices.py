"""Each picture's part of what a processor made of several, so that none is prepared a second time by itself.

Written for transformers 5.23, whose processors say how many pieces a picture of a size becomes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image as Pictures
from PIL.Image import Image as Picture
from transformers import BatchFeature

from shared.errors import CallerError
from shared.request import Image, Message, Request
from worker.engines.base import Prompt
from worker.engines.continuous.model_inputs import encoder_inputs, numbers
from worker.engines.loading.loaded import LoadedModel
from worker.engines.prompt.picture_tokens import ALONE, STUMBLES, Size

# High, wide, and larger than most models use.
TRIED: tuple[Size, ...] = (*ALONE, (200, 40))


@dataclass(frozen=True)
class PictureSlice:
    """The placeholder `tokens` of one picture, and the encoder's `inputs` of it alone."""

    tokens: int
    inputs: BatchFeature


def pictures_prompt(loaded: LoadedModel, pictures: Sequence[Picture]) -> Prompt:
    """A prompt of nothing but these pictures. Raises CallerError if the model takes none."""
    parts = tuple(Image() for _ in pictures)
    raw = not loaded.facts.has_chat_template
    request = Request(model=loaded.model.id, messages=(Message(role="user", parts=parts),), raw=raw)
    return loaded.renderer.prompt(request, pictures)


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
    pictures = [_noise(size) for size in TRIED]
    try:
        prompts = [
            pictures_prompt(loaded, shown) for shown in (pictures, *([picture] for picture in pictures))
        ]
    except (CallerError, *STUMBLES):
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


def _noise(size: Size) -> Picture:
    # Nobody is to be kept from guessing it.
    return Pictures.frombytes("RGB", size, random.Random(size[0]).randbytes(size[0] * size[1] * 3))  # noqa: S311
