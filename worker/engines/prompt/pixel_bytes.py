"""Pixels travel to the device as bytes, where a table makes the processor's own numbers of them.

A processor's last two acts, rescaling and normalising, make one number of each byte of a channel. Written for
transformers 5.23, whose image processors take from their attributes what they are to do.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL.Image import Image as Picture

from worker.engines.base import PackedPicture

log = logging.getLogger("worker")

PIXELS = "pixel_values"
CHANNELS, LEVELS = 3, 256
# Bytes looked up at once: an index of eight bytes is made of each, of which a large picture has ten million.
MOST = 2**20
# Patches that are repeated in time are repeated on the device.
BYTES = {"do_rescale": False, "do_normalize": False, "temporal_patch_size": 1}


@dataclass(frozen=True)
class PixelTable:
    """What a processor makes of each byte of each channel, [3, 256] on the device, in the model's format.

    `times`: how often a patch is repeated in time.
    """

    table: torch.Tensor
    times: int

    def numbers(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs, which lie on the device, with the processor's own pixels."""
        pixels = inputs.get(PIXELS)
        if pixels is None or pixels.dtype != torch.uint8:
            return dict(inputs)
        # Patches hold one channel after the other; of planes the third axis from the end is the channel.
        if pixels.ndim == 2:
            return {**inputs, PIXELS: self._look_up(pixels.view(len(pixels), CHANNELS, 1, -1)).flatten(1)}
        planes = pixels.reshape(-1, CHANNELS, 1, pixels.shape[-2:].numel())
        return {**inputs, PIXELS: self._look_up(planes).view(pixels.shape)}

    def _look_up(self, parts: torch.Tensor) -> torch.Tensor:
        """Of parts [parts, channels, 1, bytes], repeated on the third axis."""
        table, first = self.table.flatten(), torch.arange(CHANNELS, device=parts.device) * LEVELS
        numbers = table.new_empty((*parts.shape[:2], self.times, parts.shape[3]))
        each = max(1, MOST // max(1, len(parts) * CHANNELS))
        for some, place in zip(*(torch.split(one, each, dim=-1) for one in (parts, numbers)), strict=True):
            place.copy_(table.take(some.long().add_(first.view(-1, 1, 1))))
        return numbers


MakeInputs = Callable[[], Sequence[Mapping[str, Any]]]
"""Makes the inputs of some prompts with pictures, by the processor."""


def pixel_table(processor: Any, make_inputs: MakeInputs, place: torch.Tensor) -> PixelTable | None:
    """Let the processor stop at bytes, where they become the very numbers that it makes; else None.

    `place` lies on the model's device and has its format.
    """
    pictures: Any = getattr(processor, "image_processor", None)
    try:
        table, numbers = _table(pictures), make_inputs()
    except Exception as error:
        # A processor may raise anything, and what has no bytes travels as numbers.
        log.info("pixels travel as numbers: %s", type(error).__name__)
        return None
    own = {name: getattr(pictures, name) for name in BYTES if hasattr(pictures, name)}
    candidate = PixelTable(table, own.get("temporal_patch_size", 1))
    vars(pictures).update({name: BYTES[name] for name in own})
    if _exact(candidate, make_inputs, numbers):
        return replace(candidate, table=table.to(place))
    vars(pictures).update(own)
    log.info("pixels travel as numbers: their bytes would become others")
    return None


def arrays_match_pictures(make_inputs: Callable[..., Sequence[Mapping[str, Any]]]) -> bool:
    """Whether the same inputs are made of arrays as of Pillow's pictures."""
    try:
        expected = make_inputs()
        return all(_same(one, other) for one, other in zip(make_inputs(arrays=True), expected, strict=True))
    except Exception as error:
        # As in `pixel_table`.
        log.info("pictures travel by Pillow: %s", type(error).__name__)
        return False


def packed_array(picture: Picture) -> "np.ndarray[Any, np.dtype[np.uint8]] | None":
    """The bytes of a packed picture, [3, height, width], not copied; None of one that is not packed."""
    packed = picture.pixels if isinstance(picture, PackedPicture) else None
    if packed is None:
        return None
    pixels = np.frombuffer(packed, dtype=np.uint8)
    return pixels.reshape(picture.height, picture.width, CHANNELS).transpose(2, 0, 1)


def in_bytes(inputs: Any) -> Any:
    """The inputs of a processor that stops at bytes; Pillow's write them as numbers of four bytes each."""
    if PIXELS in inputs:
        inputs[PIXELS] = inputs[PIXELS].to(torch.uint8)
    return inputs


def _table(pictures: Any) -> torch.Tensor:
    levels = np.broadcast_to(np.arange(LEVELS, dtype=np.uint8), (CHANNELS, 1, LEVELS)).copy()
    if not (pictures.do_rescale and pictures.do_normalize):
        raise ValueError
    if pictures.backend == "torchvision":
        how = (True, pictures.rescale_factor, True, pictures.image_mean, pictures.image_std)
        numbers = pictures.rescale_and_normalize(torch.from_numpy(levels)[None], *how)
    else:
        numbers = pictures.rescale(levels, pictures.rescale_factor)
        numbers = pictures.normalize(numbers, pictures.image_mean, pictures.image_std)
    return torch.as_tensor(numbers).reshape(CHANNELS, LEVELS).contiguous()


def _exact(table: PixelTable, make_inputs: MakeInputs, numbers: Sequence[Mapping[str, Any]]) -> bool:
    try:
        pairs = zip(make_inputs(), numbers, strict=True)
        return all(_same(table.numbers(in_bytes(one)), other) for one, other in pairs)
    except Exception as error:
        # As in `pixel_table`.
        log.info("pixels as bytes fail with %s", type(error).__name__)
        return False


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        value.dtype == other[name].dtype and torch.equal(value, other[name]) for name, value in one.items()
    )
