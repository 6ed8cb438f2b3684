"""How large a picture is shown to the model."""

import math
from collections.abc import Sequence
from typing import NamedTuple

SQUARES = 4
"""How much larger than the pixels of a request the squares around its pictures may be together."""

Size = tuple[int, int]


class Room(NamedTuple):
    """The longest side and the most pixels that each picture of a request may have, and the fewest."""

    side: float
    pixels: float
    least: int = 0

    def fitted(self, size: Size) -> Size:
        """A size, shrunk where it is larger, grown where it has too few pixels; it keeps its shape."""
        wanted = max(1.0, math.sqrt(self.least / math.prod(size)))
        factor = min(wanted, self.side / max(size), math.sqrt(self.pixels / math.prod(size)))
        return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def room_for(sizes: Sequence[Size], room: Room, total: float) -> Room:
    """The room of each picture where all together may have `total` pixels.

    The largest shrink first, so that a stamp next to a poster stays as it is. Some processors pad pictures to
    squares, which takes time for each, and some hold all of them at once.
    """
    fitted = [room.fitted(size) for size in sizes]
    squares = _share([max(size) ** 2 for size in fitted], total * SQUARES)
    pixels = _share([math.prod(size) for size in fitted], total)
    return Room(min(room.side, math.isqrt(int(squares))), min(room.pixels, pixels))


def _share(amounts: Sequence[int], total: float) -> float:
    """The most that each may have, so that together they have at most `total`."""
    remaining = total
    for number, amount in enumerate(sorted(amounts)):
        share = remaining / (len(amounts) - number)
        if amount > share:
            return share
        remaining -= amount
    return total
