"""Draws scenes at random: backgrounds, figures, texts, and what cameras and files do to them."""

import io
import math
import random
from typing import Any

from PIL import Image, ImageDraw

from training import world
from training.fonts import FACES, Font, font
from training.scene import Figure, Letter, Point, Scene, located, outline
from training.world import RGB

KINDS = {"single": 0.25, "several": 0.30, "count": 0.22, "text": 0.20, "empty": 0.03}
SIDES = (64, 96, 96, 128, 128, 160, 224, 320)
MARGIN = 1.2  # how far a figure reaches beyond its radius


def paint(rng: random.Random, kind: str | None = None) -> Scene:
    kind = kind or rng.choices(list(KINDS), list(KINDS.values()))[0]
    painter = Painter(rng)
    if kind == "text":
        painter.write(_some_text(rng))
    elif kind != "empty":
        painter.draw_figures(kind)
    return painter.scene()


class Painter:
    """One sheet. The mask is painted beside the picture so that every patch can be labelled."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.size = _some_size(rng)
        self.background = rng.choice(
            ("white", "white", "black", "gray") if rng.random() < 0.35 else world.COLOR_NAMES
        )
        self.ground = world.shade(rng, self.background)
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

    def _texture(self) -> None:
        chance = self.rng.random()
        if chance < 0.15:
            self._gradient()
        elif chance < 0.30:
            self._blotches()

    def _gradient(self) -> None:
        end, (width, height) = world.shade(self.rng, self.background), self.size
        for y in range(0, height, 2):
            part = y / height
            mixed = tuple(int(a * (1 - part) + b * part) for a, b in zip(self.ground, end, strict=True))
            self.pen.rectangle((0, y, width, y + 1), fill=mixed)

    def _blotches(self) -> None:
        width, height = self.size
        for _ in range(12):
            x, y = self.rng.uniform(0, width), self.rng.uniform(0, height)
            r = self.rng.uniform(0.05, 0.25) * min(self.size)
            self.pen.ellipse((x - r, y - r, x + r, y + r), fill=world.shade(self.rng, self.background))

    def _contrasting(self, avoid: set[str]) -> tuple[str, RGB]:
        names = [c for c in world.COLOR_NAMES if c != self.background and c not in avoid]
        while True:
            color = self.rng.choice(names)
            shade = world.shade(self.rng, color)
            if world.contrast(shade, self.ground) > world.CONTRAST:
                return color, shade

    def draw_figures(self, kind: str) -> None:
        number, smallest, largest = {
            "single": (1, 0.11, 0.40),
            "several": (self.rng.choice((2, 2, 3)), 0.11, 0.22),
            "count": (self.rng.randint(1, world.MOST_FIGURES), 0.10, 0.20),
        }[kind]
        alike = kind == "count" and self.rng.random() < 0.6
        shape, (color, shade) = self.rng.choice(world.SHAPES), self._contrasting(set())
        for _ in range(number):
            if not alike:
                shape, color, shade = self._another(differing=kind == "several")
            radius, center = self._free_spot(smallest, largest, alone=kind == "single")
            self._draw(shape, color, shade, center, radius)

    def _another(self, differing: bool) -> tuple[str, str, RGB]:
        drawn = self.figures if differing else []
        shapes = [s for s in world.SHAPES if s not in {f.shape for f in drawn}]
        return (self.rng.choice(shapes), *self._contrasting({f.color for f in drawn}))

    def _free_spot(self, smallest: float, largest: float, alone: bool) -> tuple[float, Point]:
        """A spot where the figure, shrunk as needed, touches no other: so counts are never debatable."""
        limit = largest
        while True:
            radius = self.rng.uniform(min(smallest, limit), limit) * min(self.size)
            in_place = alone and self.rng.random() < 0.8
            radius = min(radius, 0.24 * min(self.size)) if in_place else radius
            center = self._in_a_place(radius) if in_place else self._anywhere(radius)
            if all(math.dist(center, (f.x, f.y)) > 1.25 * (radius + f.radius) for f in self.figures):
                return radius, center
            limit = max(0.05, limit * 0.98)

    def _anywhere(self, radius: float) -> Point:
        x, y = (self.rng.uniform(MARGIN * radius, side - MARGIN * radius) for side in self.size)
        return x, y

    def _in_a_place(self, radius: float) -> Point:
        """A point in one of the nine places, each equally likely."""
        bands = ((0.0, 0.34), (0.40, 0.60), (0.66, 1.0))
        x, y = (
            min(
                max(self.rng.uniform(*self.rng.choice(bands)) * side, MARGIN * radius), side - MARGIN * radius
            )
            for side in self.size
        )
        return x, y

    def _draw(self, shape: str, color: str, shade: RGB, center: Point, radius: float) -> None:
        mark, style = len(self.figures) + 1, self._edge(color)
        if shape == "circle":
            (x, y), r = center, radius
            self.pen.ellipse((x - r, y - r, x + r, y + r), fill=shade, **style)
            self.mask_pen.ellipse((x - r, y - r, x + r, y + r), fill=mark)
        else:
            corners = outline(shape, center, radius, self._angle(shape))
            self.pen.polygon(corners, fill=shade, **style)
            self.mask_pen.polygon(corners, fill=mark)
        self.figures.append(located(shape, color, center, radius, self.size))

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
        face, (left, top, right, bottom) = self._fitting(text)
        x = self.rng.uniform(0, max(1.0, self.size[0] - (right - left))) - left
        y = self.rng.uniform(0, max(1.0, self.size[1] - (bottom - top))) - top
        self.pen.text((x, y), text, fill=shade, font=face)
        for i, character in enumerate(text):
            begin, end = (x + self.pen.textlength(text[:n], font=face) for n in (i, i + 1))
            self.mask_pen.rectangle((begin + 1, y + top, max(begin + 1, end - 1), y + bottom), fill=10 + i)
            self.letters.append(Letter(character, (begin + end) / 2, y + (top + bottom) / 2))

    def _fitting(self, text: str) -> tuple[Font, tuple[float, float, float, float]]:
        """A font of a size at which the text fits, and the text's box."""
        name, (width, height) = self.rng.choice(FACES), self.size
        widest = 1.45 * width / len(text) * self.rng.uniform(0.75, 1)
        pixels = max(min(self.rng.uniform(0.3, 0.85) * height, widest), 0.25 * max(self.size))
        while True:
            face = font(name, int(pixels))
            box = self.pen.textbbox((0, 0), text, font=face)
            if box[2] - box[0] <= width * 0.96 and box[3] - box[1] <= height * 0.96:
                return face, box
            pixels *= 0.9


def _some_size(rng: random.Random) -> tuple[int, int]:
    side = rng.choice(SIDES)
    chance, shorter = rng.random(), int(side * rng.uniform(0.6, 1))
    if chance < 0.18:
        return side, shorter
    return (shorter, side) if chance < 0.35 else (side, side)


def _some_text(rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.25:
        return rng.choice(world.WORDS)
    alphabet = world.LETTERS if chance < 0.7 else world.DIGITS
    return "".join(rng.choice(alphabet) for _ in range(rng.choice((1, 2, 3, 3))))


def _through_jpeg(rng: random.Random, image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=rng.randint(45, 95))
    return Image.open(file).convert("RGB")
