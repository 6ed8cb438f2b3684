"""Decides to what size a request's pictures are shrunk before the model gets them.

An image processor may pad a picture to a square or scale its shorter side, in floating point: that turns a
file of a few kilobytes, 40000 x 800, into 16 GB.
"""

import math
from collections.abc import Sequence

from shared.pictures import PictureInfo


def sizes(infos: Sequence[PictureInfo], max_side: int) -> list[tuple[int, int]]:
    """Width and height of each as stored: no side longer than `max_side`, and all together no more pixels
    than one square of that side has. The largest give first, so that a stamp beside a poster stays as it is.
    """
    factors = [min(1.0, max_side / max(info.width, info.height)) for info in infos]
    most = _share([info.pixels * f * f for info, f in zip(infos, factors, strict=True)], max_side**2)
    return [
        _size(info, min(f, math.sqrt(most / info.pixels))) for info, f in zip(infos, factors, strict=True)
    ]


def _share(pixels: Sequence[float], total: int) -> float:
    """The most pixels that each picture may have, so that together they have at most `total`."""
    left: float = total
    for number, wanted in enumerate(sorted(pixels)):
        share = left / (len(pixels) - number)
        if wanted > share:
            return share
        left -= wanted
    return total


def _size(info: PictureInfo, factor: float) -> tuple[int, int]:
    return max(1, round(info.width * factor)), max(1, round(info.height * factor))
