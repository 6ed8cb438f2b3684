"""What the vision tower is given and is to see there: a wrong label would teach a wrong answer."""

import random

import torch
from transformers import AutoImageProcessor

from training.drawing import KINDS, draw_scene
from training.model import TINY
from training.patches import labels, pixels
from training.scene import CHARACTERS, SHAPES

SCENES = [draw_scene(random.Random(seed), kind) for kind in KINDS for seed in range(25)]


def test_the_eye_is_trained_on_the_pixels_it_will_be_given() -> None:
    scenes = SCENES[::10]
    processor = AutoImageProcessor.from_pretrained(TINY)  # type: ignore[no-untyped-call]
    given = processor([scene.image for scene in scenes], return_tensors="pt")["pixel_values"]
    for scene, values in zip(scenes, given, strict=True):
        trained = torch.from_numpy(pixels(scene.image).copy()).permute(2, 0, 1).float() / 127.5 - 1
        assert (trained - values).abs().max() < 0.02


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
