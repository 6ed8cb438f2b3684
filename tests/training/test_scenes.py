"""The truth about the painted pictures: a wrong label would teach a wrong answer."""

import colorsys
import math
import random

import pytest

from training.labels import labels
from training.painter import KINDS, paint
from training.scene import Figure, Scene
from training.world import CHARACTERS, COLORS, MOST_FIGURES, SHAPES

SCENES = [paint(random.Random(seed), kind) for kind in KINDS for seed in range(25)]


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


def test_the_same_seed_paints_the_same_picture() -> None:
    one, other = paint(random.Random("again")), paint(random.Random("again"))
    assert (one.image.tobytes(), one.figures, one.text) == (other.image.tobytes(), other.figures, other.text)


def test_the_patch_under_a_figure_is_labelled_with_its_shape() -> None:
    scenes = [scene for scene in SCENES if len(scene.figures) == 1 and scene.figures[0].radius > 12]
    truth = labels(scenes)
    for i, scene in enumerate(scenes):
        shown = set(truth.shape[i].tolist()) - {0}
        assert shown == {SHAPES.index(scene.figures[0].shape) + 1}
        assert truth.center[i].sum() == 1


def test_the_characters_of_a_text_are_all_labelled() -> None:
    scenes = [scene for scene in SCENES if scene.text]
    truth = labels(scenes)
    for i, scene in enumerate(scenes):
        shown = {CHARACTERS[c - 1] for c in truth.character[i].tolist() if c}
        assert shown == set(scene.text)
