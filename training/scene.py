"""The model's world: what a picture can show, where, and the true sentences about it.

Shapes, colours, places and short texts are all there is. A colour is a region of hue, saturation and value.
The regions leave gaps on purpose, so that no two people could argue about a name.
"""

import colorsys
import itertools
import random
from dataclasses import dataclass
from typing import NamedTuple

from PIL.Image import Image

RGB = tuple[int, int, int]
Point = tuple[float, float]

SHAPES = ("circle", "square", "triangle", "star")
NUMBERS = ("no", "one", "two", "three", "four")
MOST_FIGURES = 4
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
CHARACTERS = LETTERS + DIGITS
PLACES = (
    ("top left", "top", "top right"),
    ("left", "center", "right"),
    ("bottom left", "bottom", "bottom right"),
)
SAME_COLUMN = 0.04  # figures whose centres are closer, in widths, have no clear order from left to right


class Region(NamedTuple):
    """Hue in degrees (below zero wraps), saturation and value from 0 to 1."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]

    def shade(self, rng: random.Random) -> RGB:
        hue, saturation, value = (rng.uniform(*bounds) for bounds in self)
        red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value)
        return int(red * 255), int(green * 255), int(blue * 255)


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


@dataclass(frozen=True)
class Figure:
    """`place` is None where people would disagree about it."""

    shape: str
    color: str
    x: float
    y: float
    radius: float
    place: str | None

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"


class Letter(NamedTuple):
    character: str
    x: float
    y: float


@dataclass(frozen=True)
class Scene:
    """`mask` holds, per pixel of `image`, 0 for the background, 1.. for the figures, 10.. for the letters."""

    image: Image
    mask: Image
    background: str
    figures: tuple[Figure, ...] = ()
    letters: tuple[Letter, ...] = ()
    ink: str = ""

    @property
    def text(self) -> str:
        return "".join(letter.character for letter in self.letters)

    def named(self, name: str) -> list[Figure]:
        """The figures a name fits: a shape ("square"), a colour ("red") or both ("red square")."""
        return [f for f in self.figures if name in (f.shape, f.color, f.name)]

    def shows(self, name: str) -> bool:
        return bool(self.named(name)) or (bool(self.text) and name == f"text {self.text}")


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


def sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def there_is_no(name: str) -> str:
    return f"There is no {name}."


def there_are(name: str, count: int) -> str:
    return there_is_no(name) if count == 0 else f"There are {_number_of(name, count)}."


def describe(scene: Scene) -> str | None:
    """One sentence; None where people would name the figures in different orders."""
    if not scene.figures and not scene.text:
        return f"An empty {scene.background} background."
    content = f"the text {scene.text} in {scene.ink}" if scene.text else _enumeration(scene)
    return None if content is None else sentence(f"{content} on {_a(scene.background)} background.")


def _enumeration(scene: Scene) -> str | None:
    figures = sorted(scene.figures, key=lambda figure: figure.x)
    *others, last = (_a(figure.name) for figure in figures)
    if not others:
        return last
    if len({figure.name for figure in figures}) == 1:
        return _number_of(figures[0].name, len(figures))
    if len(figures) > 3:
        return _number_of("shape", len(figures))
    gap = SAME_COLUMN * scene.image.width
    if any(right.x - left.x < gap for left, right in itertools.pairwise(figures)):
        return None
    return f"{', '.join(others)} and {last}"


def _a(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def _number_of(name: str, count: int) -> str:
    return f"{NUMBERS[count]} {name}" + ("" if count == 1 else "s")
