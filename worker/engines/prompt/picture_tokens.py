"""Computes from pictures' sizes, before any pixel is touched, how many tokens they will become."""

import random
from collections.abc import Sequence
from typing import Any

from PIL import Image as Pictures
from PIL.Image import Image as Picture

from worker.engines.base import PackedPicture

Size = tuple[int, int]
"""Width and height."""

# Sizes to try: wide, high, and larger than most models use; of one picture, and of two together.
ALONE: tuple[Size, ...] = ((64, 48), (40, 200), (1000, 700))
TOGETHER: tuple[Size, ...] = ((64, 48), (200, 40))
TRIED: tuple[Size, ...] = (*ALONE, (200, 40))

# What a processor raises on input that it cannot take.
STUMBLES = (RuntimeError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError)


class PictureTokenCounter:
    """Asks the processor (`_get_num_multimodal_tokens`), if for a few blank pictures at load it did not count
    more tokens than there were.

    Some processors are right for a single picture only: they cut it differently beside others.
    """

    def __init__(self, processor: Any, mark: str) -> None:
        """`mark` stands for a picture in a text; the processor replaces it."""
        self._processor = processor
        self._mark = mark
        computable = bool(mark) and hasattr(processor, "_get_num_multimodal_tokens")
        self._alone = computable and all(self._right([size]) for size in ALONE)
        self._together = self._alone and self._right(TOGETHER)

    def of(self, pictures: Sequence[Picture]) -> int:
        """Tokens of a prompt's pictures and separators; 0 if only processing the pictures would tell."""
        counts = self._together if len(pictures) > 1 else self._alone
        try:
            return self._computed([picture.size for picture in pictures]) if counts and pictures else 0
        except STUMBLES:
            # The processor will refuse such a shape itself, in words for the caller.
            return 0

    def _right(self, sizes: Sequence[Size]) -> bool:
        pictures = [Pictures.new("RGB", size) for size in sizes]
        try:
            text = self._mark * len(pictures)
            [ids] = self._processor(text=[text], images=[pictures])["input_ids"]
            return self._computed(sizes) <= len(ids)
        except STUMBLES:
            # A processor that takes no bare marks, or cannot count, is not asked again.
            return False

    def _computed(self, sizes: Sequence[Size]) -> int:
        computed = self._processor._get_num_multimodal_tokens(
            image_sizes=[(high, wide) for wide, high in sizes]
        )
        return sum(computed["num_image_tokens"])


def noise(size: Size) -> Picture:
    """The same picture each time."""
    # Nobody is to be kept from guessing it.
    return PackedPicture(size, bytearray(random.Random(size[0]).randbytes(size[0] * size[1] * 3)))  # noqa: S311
