"""Computes from pictures' sizes, before any pixel is touched, how many tokens they will become."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image as Pictures
from PIL.Image import Image as Picture

from shared.errors import CallerError
from shared.request import Request
from worker.engines.loading.torch_errors import UNFIT
from worker.engines.loading.transformers_internals import picture_tokens

Size = tuple[int, int]
"""Width and height."""

# Sizes to try: wide, high, and larger than most models use; of one picture, and of two together.
ALONE: tuple[Size, ...] = ((64, 48), (40, 200), (1000, 700))
TOGETHER: tuple[Size, ...] = ((64, 48), (200, 40))


class PictureTokenCounter:
    """Asks the processor, if for some blank pictures at load it counted no more tokens than there were."""

    def __init__(self, processor: Any, mark: str) -> None:
        """`mark` stands for a picture in a text; the processor replaces it."""
        self._processor = processor
        self._counts = bool(mark) and all(self._right(mark, sizes) for sizes in (*zip(ALONE), TOGETHER))

    def of(self, pictures: Sequence[Picture]) -> int:
        """Tokens of a prompt's pictures and separators; 0 if only processing the pictures would tell."""
        try:
            sizes = [picture.size for picture in pictures]
            return picture_tokens(self._processor, sizes) if self._counts and pictures else 0
        except UNFIT:
            # The processor will refuse such a shape itself, in words for the caller.
            return 0

    def _right(self, mark: str, sizes: Sequence[Size]) -> bool:
        pictures = [Pictures.new("RGB", size) for size in sizes]
        try:
            [ids] = self._processor(text=[mark * len(pictures)], images=[pictures])["input_ids"]
            return picture_tokens(self._processor, sizes) <= len(ids)
        except UNFIT:
            # A processor that takes no bare marks, or cannot count, is not asked again.
            return False


def seen_sizes(processor: Any, inputs: Mapping[str, Any], pictures: Sequence[Picture]) -> list[Size]:
    """Width and height of each as the network gets it, from what processors tell; as the processor got it
    where they tell nothing, or cut it into tiles.
    """
    count, sizes = len(pictures), [picture.size for picture in pictures]
    grids, pixels, within = (inputs.get(name) for name in ("image_grid_thw", "pixel_values", "image_sizes"))
    patch = getattr(getattr(processor, "image_processor", None), "patch_size", None)
    if grids is not None and isinstance(patch, int) and len(grids) == count:
        return [(int(wide) * patch, int(high) * patch) for _, high, wide in grids]
    if pixels is None or getattr(pixels, "ndim", 0) != 4 or len(pixels) != count:
        return sizes
    if within is not None and len(within) == count:
        return [(int(wide), int(high)) for high, wide in within]
    return [(pixels.shape[3], pixels.shape[2])] * count


def pixel_bounds(processor: Any) -> tuple[int, int] | None:
    """The fewest and the most pixels to which the processor resizes, where it documents such arguments."""
    pictures = getattr(processor, "image_processor", None)
    documented = getattr(getattr(pictures, "valid_kwargs", None), "__annotations__", {})
    size: Any = getattr(pictures, "size", None)
    if "max_pixels" not in documented:
        return None
    try:
        return int(size["shortest_edge"]), int(size["longest_edge"])
    except UNFIT:
        return None


def check_pixels(request: Request, bounds: tuple[int, int] | None) -> None:
    """Raises CallerError `invalid_request` for a size that the processor would undo."""
    least, most = bounds or (1, sys.maxsize)
    for image in request.shown:
        wrong = {
            "min_pixels": (image.min_pixels or 0) > most,
            "max_pixels": not least <= (image.max_pixels or most) <= most,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            message = f"This model sees pictures of {least} to {most} pixels; `{name}` is outside of that."
            raise CallerError("invalid_request", message, param=name)
