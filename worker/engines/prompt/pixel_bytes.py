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

PIXELS, MASK = "pixel_values", "pixel_attention_mask"
CHANNELS, LEVELS = 3, 256
# Bytes looked up at once: an index of eight bytes is made of each, of which a large picture has ten million.
MOST = 2**20
BYTES = {"do_rescale": False, "do_normalize": False}
# A picture that is repeated in time, and the mask of a padding that is not needed, are made on the device.
LEAN = {"temporal_patch_size": 1, "do_pad": False}


@dataclass(frozen=True)
class PixelTable:
    """What a processor makes of each byte of each channel, [3, 256] on the device, in the model's format.

    `times`: how often a patch is repeated in time. `masked`: whether a mask of ones belongs to the pixels.
    """

    table: torch.Tensor
    times: int = 1
    masked: bool = False

    def numbers(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs, which lie on the device, with the processor's own pixels."""
        pixels = inputs.get(PIXELS)
        if pixels is None or pixels.dtype != torch.uint8:
            return dict(inputs)
        numbers = {**inputs, PIXELS: self._flat(pixels) if pixels.ndim == 2 else self._of_planes(pixels)}
        if self.masked:
            numbers[MASK] = pixels.new_ones((*pixels.shape[:-3], *pixels.shape[-2:]), dtype=torch.int64)
        return numbers

    def _flat(self, pixels: torch.Tensor) -> torch.Tensor:
        """Of patches that hold one channel after the other."""
        return self._look_up(pixels.view(len(pixels), CHANNELS, 1, -1), self.times).flatten(1)

    def _of_planes(self, pixels: torch.Tensor) -> torch.Tensor:
        """Of pixels whose third axis from the end is the channel."""
        return self._look_up(pixels.reshape(-1, CHANNELS, 1, pixels.shape[-2:].numel()), 1).view(pixels.shape)

    def _look_up(self, parts: torch.Tensor, times: int) -> torch.Tensor:
        """Of parts [parts, channels, 1, bytes], repeated on the third axis."""
        table, first = self.table.flatten(), torch.arange(CHANNELS, device=parts.device) * LEVELS
        numbers = table.new_empty((*parts.shape[:2], times, parts.shape[3]))
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
    pictures = getattr(processor, "image_processor", None)
    try:
        table, numbers = _table(pictures), make_inputs()
    except Exception as error:
        # A processor may raise anything, and what has no bytes travels as numbers.
        log.info("pixels travel as numbers: %s", type(error).__name__)
        return None
    for wish in (BYTES | LEAN, BYTES):
        own = {name: getattr(pictures, name) for name in wish if hasattr(pictures, name)}
        masked = "do_pad" in own and all(MASK in one for one in numbers)
        if not masked:
            own.pop("do_pad", None)
        candidate = PixelTable(table, own.get("temporal_patch_size", 1), masked)
        vars(pictures).update({name: wish[name] for name in own})
        if _exact(candidate, make_inputs, numbers):
            return replace(candidate, table=table.to(place))
        vars(pictures).update(own)
    log.info("pixels travel as numbers: their bytes would become others")
    return None


def takes_arrays(processor: Any, make_inputs: Callable[..., Sequence[Mapping[str, Any]]]) -> bool:
    """Whether the processor makes the same of arrays, [channels, height, width], as of Pillow's pictures.

    Torchvision's processors then keep the layout of the picture, pixel by pixel, if their output is the same:
    by default they copy it channel by channel, which takes twice as long to resize.
    """
    pictures: Any = getattr(processor, "image_processor", None)
    if getattr(pictures, "backend", None) == "torchvision":
        own = pictures.process_image

        def process_image(image: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
            is_packed = isinstance(image, np.ndarray) and image.shape[0] == CHANNELS
            return torch.from_numpy(image) if is_packed else own(image, *args, **kwargs)

        pictures.process_image = process_image
        if arrays_match_pictures(make_inputs):
            return True
        del pictures.process_image
    return arrays_match_pictures(make_inputs)


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
