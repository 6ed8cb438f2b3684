"""What is drawn is what is said to be drawn: a wrong colour or count would teach a wrong answer."""

import colorsys
import math
import random

import pytest

from training.drawing import KINDS, draw_scene
from training.scene import COLORS, MOST_FIGURES, Figure, Scene

SCENES = [draw_scene(random.Random(seed), kind) for kind in KINDS for seed in range(25)]


def hue_fits(pixel: tuple[int, int, int], color: str) -> bool:
    """With the room that JPEG and rounding need."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in pixel))
    region = COLORS[color]
    low, high = region.hue
    near = (hue * 360 - low + 25) % 360 <= high - low + 50
    return (near or saturation < 0.35 or value < 0.2) and value >= region.value[0] - 0.2


def pixel(scene: Scene, figure: Figure) -> tuple[int, int, int]:
    value = scene.image.getpixel((int(figure.x), int(figure.y)))
    assert isinstance(value, tuple)
    return value[0], value[1], value[2]


@pytest.mark.parametrize("scene", [s for s in SCENES if s.figures])
def test_a_figure_has_the_colour_it_is_said_to_have(scene: Scene) -> None:
    assert all(hue_fits(pixel(scene, figure), figure.color) for figure in scene.figures)


def test_figures_neither_touch_nor_leave_the_picture() -> None:
    for scene in SCENES:
        for i, one in enumerate(scene.figures):
            assert all(
                math.dist((one.x, one.y), (o.x, o.y)) > one.radius + o.radius for o in scene.figures[:i]
            )
            assert 0 < one.x < scene.image.width
            assert 0 < one.y < scene.image.height


def test_no_picture_holds_more_figures_than_the_world_counts() -> None:
    numbers = {len(scene.figures) for scene in SCENES}
    assert numbers == set(range(MOST_FIGURES + 1))


def test_figures_and_texts_never_stand_on_their_own_colour() -> None:
    for scene in SCENES:
        assert scene.background not in {scene.ink, *(figure.color for figure in scene.figures)}


def test_the_same_seed_draws_the_same_picture() -> None:
    one, other = draw_scene(random.Random("again")), draw_scene(random.Random("again"))
    assert (one.image.tobytes(), one.figures, one.text) == (other.image.tobytes(), other.figures, other.text)
