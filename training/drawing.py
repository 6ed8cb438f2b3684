"""Draws random scenes: backgrounds, figures, texts, and what cameras and files do to them.

Texts are drawn in Pillow's own face and matplotlib's DejaVu, both installed by pip. The fonts of the system
are not used: with them every machine would train another model.
"""

import functools
import io
import itertools
import math
import random
from typing import Any

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from training.scene import (
    COLOR_NAMES,
    COLORS,
    DIGITS,
    LETTERS,
    MOST_FIGURES,
    RGB,
    SHAPES,
    Figure,
    Letter,
    Point,
    Scene,
    place,
)

KINDS_IN_PAIRS = {"single": 0.36, "several": 0.25, "count": 0.17, "text": 0.22}
KINDS = {"single": 0.25, "several": 0.30, "count": 0.22, "text": 0.20, "empty": 0.03}
SIDES = (64, 96, 96, 128, 128, 160, 224, 320)
MARGIN = 1.2  # how far a figure reaches beyond its radius
CONTRAST = 150  # the least sum of channel differences between a figure and what it stands on
BANDS = (
    (0.0, 0.34),
    (0.40, 0.60),
    (0.66, 1.0),
)  # of width or height: the thirds whose names are beyond doubt
WORDS = (
    "GO", "NO", "HI", "OK", "ON", "UP", "BUS", "CAT", "DOG", "SUN", "MAP", "HOT", "ICE", "TEA", "CAR",
    "RED", "NEW", "OLD", "ONE", "TWO", "SIX", "TEN", "KEY", "BOX", "YES",
)  # fmt: skip
PILLOW = "Pillow"
DEJAVU = ("Sans", "Sans-Bold", "SansMono", "SansMono-Bold", "Serif", "Serif-Bold")
FACES = (PILLOW, PILLOW, PILLOW, *DEJAVU)  # a third is Pillow's: what people draw with when they try a model

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_scene(rng: random.Random, kind: str | None = None) -> Scene:
    kind = kind or pick(rng, KINDS)
    canvas = Canvas(rng)
    if kind == "text":
        canvas.write(_random_text(rng))
    elif kind != "empty":
        canvas.draw_figures(kind)
    return canvas.scene()


def pick(rng: random.Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


class Canvas:
    """One picture. The mask is drawn along with it so that every patch can be labelled."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.size = _random_size(rng)
        plain = ("white", "white", "black", "gray")
        self.background = rng.choice(plain if rng.random() < 0.35 else COLOR_NAMES)
        self.ground = self._ground_shade()
        self.image = Image.new("RGB", self.size, self.ground)
        self.mask = Image.new("L", self.size, 0)
        self.pen, self.mask_pen = ImageDraw.Draw(self.image), ImageDraw.Draw(self.mask)
        self.figures: list[Figure] = []
        self.letters: list[Letter] = []
        self.ink = ""
        self._texture()

    def scene(self) -> Scene:
        image = _through_jpeg(self.rng, self.image) if self.rng.random() < 0.3 else self.image
        return Scene(image, self.mask, self.background, tuple(self.figures), tuple(self.letters), self.ink)

    def _ground_shade(self) -> RGB:
        return COLORS[self.background].shade(self.rng)

    def _texture(self) -> None:
        """A gradient, or blotches, of the background's shades; mostly none."""
        chance, (width, height) = self.rng.random(), self.size
        if chance < 0.15:
            end = self._ground_shade()
            for top in range(0, height, 2):
                part = top / height
                mixed = tuple(int(a * (1 - part) + b * part) for a, b in zip(self.ground, end, strict=True))
                self.pen.rectangle((0, top, width, top + 1), fill=mixed)
        elif chance < 0.30:
            for _ in range(12):
                x, y = self.rng.uniform(0, width), self.rng.uniform(0, height)
                r = self.rng.uniform(0.05, 0.25) * min(self.size)
                self.pen.ellipse((x - r, y - r, x + r, y + r), fill=self._ground_shade())

    def _contrasting(self, avoid: set[str]) -> tuple[str, RGB]:
        names = [c for c in COLOR_NAMES if c != self.background and c not in avoid]
        while True:
            color = self.rng.choice(names)
            shade = COLORS[color].shade(self.rng)
            if sum(abs(a - b) for a, b in zip(shade, self.ground, strict=True)) > CONTRAST:
                return color, shade

    def draw_figures(self, kind: str) -> None:
        number, smallest, largest = {
            "single": (1, 0.11, 0.40),
            "several": (self.rng.choice((2, 2, 3)), 0.11, 0.22),
            "count": (self.rng.randint(1, MOST_FIGURES), 0.10, 0.20),
        }[kind]
        alike = kind == "count" and self.rng.random() < 0.6
        shape, (color, shade) = self.rng.choice(SHAPES), self._contrasting(set())
        for _ in range(number):
            if not alike:
                differing = self.figures if kind == "several" else []
                shape = self.rng.choice([s for s in SHAPES if s not in {f.shape for f in differing}])
                color, shade = self._contrasting({f.color for f in differing})
            radius, center = self._free_spot(smallest, largest, alone=kind == "single")
            self._draw(shape, color, shade, center, radius)

    def _free_spot(self, smallest: float, largest: float, alone: bool) -> tuple[float, Point]:
        """A spot where the figure, shrunk as needed, touches no other: so counts are never debatable.

        One that stands alone is mostly put into one of the nine places, each equally likely.
        """
        limit = largest
        while True:
            radius = self.rng.uniform(min(smallest, limit), limit) * min(self.size)
            in_place = alone and self.rng.random() < 0.8
            radius = min(radius, 0.24 * min(self.size)) if in_place else radius
            x, y = (self._coordinate(side, MARGIN * radius, in_place) for side in self.size)
            if all(math.dist((x, y), (f.x, f.y)) > 1.25 * (radius + f.radius) for f in self.figures):
                return radius, (x, y)
            limit = max(0.05, limit * 0.98)

    def _coordinate(self, side: int, margin: float, in_place: bool) -> float:
        if not in_place:
            return self.rng.uniform(margin, side - margin)
        return min(max(self.rng.uniform(*self.rng.choice(BANDS)) * side, margin), side - margin)

    def _draw(self, shape: str, color: str, shade: RGB, center: Point, radius: float) -> None:
        label, edge, (x, y) = len(self.figures) + 1, self._edge(color), center
        if shape == "circle":
            box = (x - radius, y - radius, x + radius, y + radius)
            self.pen.ellipse(box, fill=shade, **edge)
            self.mask_pen.ellipse(box, fill=label)
        else:
            corners = _corners(shape, center, radius, self._angle(shape))
            self.pen.polygon(corners, fill=shade, **edge)
            self.mask_pen.polygon(corners, fill=label)
        where = place(x / self.size[0], y / self.size[1])
        self.figures.append(Figure(shape, color, x, y, radius, where))

    def _angle(self, shape: str) -> float:
        if shape == "triangle" and self.rng.random() < 0.2:
            return self.rng.uniform(-math.pi, math.pi)
        return self.rng.uniform(-0.25, 0.25) if self.rng.random() < 0.6 else 0.0

    def _edge(self, color: str) -> dict[str, Any]:
        if self.rng.random() >= 0.12:
            return {}
        edge = (255, 255, 255) if color == "black" else (0, 0, 0)
        return {"outline": edge, "width": max(1, max(self.size) // 64)}

    def write(self, text: str) -> None:
        self.ink, shade = self._contrasting(set())
        font, (left, top, right, bottom) = self._fitting_font(text)
        x = self.rng.uniform(0, max(1.0, self.size[0] - (right - left))) - left
        y = self.rng.uniform(0, max(1.0, self.size[1] - (bottom - top))) - top
        self.pen.text((x, y), text, fill=shade, font=font)
        for i, character in enumerate(text):
            begin, end = (x + self.pen.textlength(text[:n], font=font) for n in (i, i + 1))
            self.mask_pen.rectangle((begin + 1, y + top, max(begin + 1, end - 1), y + bottom), fill=10 + i)
            self.letters.append(Letter(character, (begin + end) / 2, y + (top + bottom) / 2))

    def _fitting_font(self, text: str) -> tuple[Font, tuple[float, float, float, float]]:
        """A font of a size at which the text fits, and the text's box."""
        face, (width, height) = self.rng.choice(FACES), self.size
        widest = 1.45 * width / len(text) * self.rng.uniform(0.75, 1)
        pixels = max(min(self.rng.uniform(0.3, 0.85) * height, widest), 0.25 * max(self.size))
        while True:
            font = _font(face, int(pixels))
            box = self.pen.textbbox((0, 0), text, font=font)
            if box[2] - box[0] <= width * 0.96 and box[3] - box[1] <= height * 0.96:
                return font, box
            pixels *= 0.9


def _corners(shape: str, center: Point, radius: float, angle: float) -> list[Point]:
    """The corners of a square, a triangle or a star."""
    count, radii, start = {
        "square": (4, [radius * 1.2], math.pi / 4),
        "triangle": (3, [radius * 1.2], -math.pi / 2),
        "star": (10, [radius * 1.2, radius * 0.5], -math.pi / 2),
    }[shape]
    turns = [angle + start + 2 * math.pi * i / count for i in range(count)]
    reach = itertools.cycle(radii)
    return [
        (center[0] + r * math.cos(t), center[1] + r * math.sin(t)) for t, r in zip(turns, reach, strict=False)
    ]


@functools.lru_cache(maxsize=600)
def _font(face: str, pixels: int) -> Font:
    if face == PILLOW:
        return ImageFont.load_default(size=pixels)
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVu{face}.ttf", pixels)


def _random_size(rng: random.Random) -> tuple[int, int]:
    side = rng.choice(SIDES)
    chance, shorter = rng.random(), int(side * rng.uniform(0.6, 1))
    if chance < 0.18:
        return side, shorter
    return (shorter, side) if chance < 0.35 else (side, side)


def _random_text(rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.25:
        return rng.choice(WORDS)
    alphabet = LETTERS if chance < 0.7 else DIGITS
    return "".join(rng.choice(alphabet) for _ in range(rng.choice((1, 2, 3, 3))))


def _through_jpeg(rng: random.Random, image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=rng.randint(45, 95))
    return Image.open(file).convert("RGB")
