"""A scene: the picture and the whole truth about it."""

import math
from dataclasses import dataclass, field

from PIL.Image import Image

from training.world import place

Point = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    shape: str
    color: str
    x: float
    y: float
    radius: float
    place: str | None

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Letter:
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
    letters: tuple[Letter, ...] = field(default=())
    ink: str = ""

    @property
    def text(self) -> str:
        return "".join(letter.character for letter in self.letters)

    def called(self, name: str) -> list[Figure]:
        """The figures a name fits: a shape ("square"), a colour ("red") or both ("red square")."""
        return [f for f in self.figures if name in (f.shape, f.color, f.name)]

    def shows(self, name: str) -> bool:
        return bool(self.called(name)) or (bool(self.text) and name == f"text {self.text}")


def outline(shape: str, center: Point, radius: float, angle: float) -> list[Point]:
    """The corners of a square, a triangle or a star."""
    corners, radii, start = {
        "square": (4, [radius * 1.2], math.pi / 4),
        "triangle": (3, [radius * 1.2], -math.pi / 2),
        "star": (10, [radius * 1.2, radius * 0.5], -math.pi / 2),
    }[shape]
    turns = [angle + start + 2 * math.pi * i / corners for i in range(corners)]
    return [
        (
            center[0] + radii[i % len(radii)] * math.cos(turn),
            center[1] + radii[i % len(radii)] * math.sin(turn),
        )
        for i, turn in enumerate(turns)
    ]


def located(shape: str, color: str, center: Point, radius: float, size: tuple[int, int]) -> Figure:
    x, y = center
    return Figure(shape, color, x, y, radius, place(x / size[0], y / size[1]))
