"""What the tiny model knows: figures, colours, places, short texts. Nothing outside is claimed.

A colour is a region of hue, saturation and value. The regions leave gaps on purpose, so that no two people
could argue about a name.
"""

import colorsys
import random
from typing import NamedTuple

RGB = tuple[int, int, int]

SHAPES = ("circle", "square", "triangle", "star")
NUMBERS = ("no", "one", "two", "three", "four")
MOST_FIGURES = 4
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
CHARACTERS = LETTERS + DIGITS
WORDS = (
    "GO", "NO", "HI", "OK", "ON", "UP", "BUS", "CAT", "DOG", "SUN", "MAP", "HOT", "ICE", "TEA", "CAR",
    "RED", "NEW", "OLD", "ONE", "TWO", "SIX", "TEN", "KEY", "BOX", "YES",
)  # fmt: skip
PLACES = (
    ("top left", "top", "top right"),
    ("left", "center", "right"),
    ("bottom left", "bottom", "bottom right"),
)


class Region(NamedTuple):
    """Hue in degrees (below zero wraps), saturation and value from 0 to 1."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]


COLORS = {
    "red": Region((-8, 6), (0.78, 1), (0.65, 1)),
    "orange": Region((22, 34), (0.85, 1), (0.9, 1)),
    "yellow": Region((49, 60), (0.7, 1), (0.88, 1)),
    "green": Region((95, 148), (0.5, 1), (0.4, 0.9)),
    "blue": Region((205, 240), (0.6, 1), (0.55, 1)),
    "purple": Region((266, 292), (0.5, 1), (0.4, 0.8)),
    "pink": Region((322, 344), (0.28, 0.6), (0.95, 1)),
    "brown": Region((18, 28), (0.6, 0.85), (0.3, 0.48)),
    "black": Region((0, 360), (0, 0.5), (0, 0.1)),
    "white": Region((0, 360), (0, 0.04), (0.95, 1)),
    "gray": Region((0, 360), (0, 0.08), (0.4, 0.65)),
}
COLOR_NAMES = tuple(COLORS)
CONTRAST = 150  # the least sum of channel differences between a figure and what it stands on


def shade(rng: random.Random, color: str) -> RGB:
    """One of the many shades that go by this name."""
    region = COLORS[color]
    red, green, blue = colorsys.hsv_to_rgb(
        rng.uniform(*region.hue) % 360 / 360, rng.uniform(*region.saturation), rng.uniform(*region.value)
    )
    return int(red * 255), int(green * 255), int(blue * 255)


def contrast(one: RGB, other: RGB) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def place(x: float, y: float) -> str | None:
    """The place of a point given in fractions of the picture; None where people would disagree."""
    column, row = _third(x), _third(y)
    return None if column is None or row is None else PLACES[row][column]


def _third(v: float) -> int | None:
    if v < 0.34:
        return 0
    if v > 0.66:
        return 2
    return 1 if 0.40 < v < 0.60 else None
