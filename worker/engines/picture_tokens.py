"""How many tokens pictures become, told by their sizes before a pixel of them is touched."""

from collections.abc import Sequence
from typing import Any

from PIL import Image as Pictures
from PIL.Image import Image as Picture

Size = tuple[int, int]
"""Width and height."""

# High, wide, and larger than most models look at; one by itself, and beside another.
ALONE: tuple[Size, ...] = ((64, 48), (40, 200), (1000, 700))
TOGETHER: tuple[Size, ...] = ((64, 48), (200, 40))

# Whatever a processor raises on what it cannot take.
STUMBLES = (RuntimeError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError)


class PictureTokens:
    """Asks the processor (`_get_num_multimodal_tokens`), where it told no more than there were of a few blank
    pictures at load.

    Some are right of a picture by itself only: they cut it otherwise where there are others.
    """

    def __init__(self, processor: Any, mark: str) -> None:
        """`mark` is what the processor replaces in a text."""
        self._processor = processor
        self._mark = mark
        known = bool(mark) and hasattr(processor, "_get_num_multimodal_tokens")
        self._alone = known and all(self._right([size]) for size in ALONE)
        self._together = self._alone and self._right(TOGETHER)

    def of(self, pictures: Sequence[Picture]) -> int:
        """Tokens of a prompt's pictures, with what parts them; 0 where only processing them would tell."""
        known = self._together if len(pictures) > 1 else self._alone
        try:
            return self._told([picture.size for picture in pictures]) if known and pictures else 0
        except STUMBLES:
            # A shape that the processor will refuse itself, in words for the caller.
            return 0

    def _right(self, sizes: Sequence[Size]) -> bool:
        pictures = [Pictures.new("RGB", size) for size in sizes]
        try:
            text = self._mark * len(pictures)
            [ids] = self._processor(text=[text], images=[pictures])["input_ids"]
            return self._told(sizes) <= len(ids)
        except STUMBLES:
            # A processor that takes no bare marks, or cannot count: it is asked no more.
            return False

    def _told(self, sizes: Sequence[Size]) -> int:
        told = self._processor._get_num_multimodal_tokens(image_sizes=[(high, wide) for wide, high in sizes])
        return sum(told["num_image_tokens"])
