"""What the vision tower gets, 64x64 pixels in 8x8 patches, and what each patch shows.

Language alone teaches the vision tower too slowly: dense labels bring shapes and characters within minutes. A
linear probe reads them from the tower's output; it is thrown away after training.
"""

import random
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from training.scene import CHARACTERS, COLOR_NAMES, SHAPES, Scene

SIDE = 64
PATCH = 8
GRID = SIDE // PATCH
WIDTH = 128  # of the vision tower's output
PADDING = 127
UNSURE = -100  # what cross_entropy leaves out
OUTSIDE = 255
FIRST_LETTER = 10
CELLS = 4  # of the mask, per patch and direction

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.int64]


def pixels(image: Image.Image) -> Pixels:
    """As the shipped image processor gives them, but faster; a test holds the two together."""
    square = _centered(image, Image.new("RGB", (max(image.size),) * 2, (PADDING,) * 3))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.uint8)


def _centered(image: Image.Image, square: Image.Image) -> Image.Image:
    square.paste(image, ((square.width - image.width) // 2, (square.height - image.height) // 2))
    return square


def pixel_batch(rng: random.Random, scenes: list[Scene]) -> torch.Tensor:
    """The pictures as the vision tower takes them: (pictures, channels, height, width), from -1 to 1."""
    stacked = np.stack([_noisy(rng, pixels(scene.image)) for scene in scenes])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _noisy(rng: random.Random, clean: Pixels) -> Pixels:
    """Grain and a change of brightness, for every second picture."""
    if rng.random() < 0.5:
        return clean
    grain = np.random.default_rng(rng.getrandbits(32)).integers(-14, 15, clean.shape, dtype=np.int16)
    noised: Pixels = np.clip(clean + grain + rng.randint(-8, 8), 0, 255).astype(np.uint8)
    return noised


class Labels(NamedTuple):
    """Per patch: 0 or 1 + index of a shape; index of a colour; 0 or 1 + index of a character; a centre?"""

    shape: torch.Tensor
    color: torch.Tensor
    character: torch.Tensor
    center: torch.Tensor


def labels(scenes: list[Scene]) -> Labels:
    columns = zip(*map(_scene_labels, scenes), strict=True)
    return Labels(*(torch.from_numpy(np.stack(column)) for column in columns))


def _scene_labels(scene: Scene) -> tuple[Array, Array, Array, npt.NDArray[np.float32]]:
    cells = _cells(scene.mask)
    shape, character = np.zeros(GRID**2, np.int64), np.zeros(GRID**2, np.int64)
    color = np.full(GRID**2, COLOR_NAMES.index(scene.background), np.int64)
    center = np.zeros(GRID**2, np.float32)
    color[(cells == OUTSIDE).sum(1) > CELLS**2 // 2] = UNSURE
    for i, figure in enumerate(scene.figures):
        covered = (cells == i + 1).sum(1)
        shape[covered >= 4] = SHAPES.index(figure.shape) + 1
        color[covered >= 8] = COLOR_NAMES.index(figure.color)
        color[(covered > 0) & (covered < 8)] = UNSURE
        center[_patch(scene.mask, figure.x, figure.y)] = 1
    for i, letter in enumerate(scene.letters):
        covered = (cells == FIRST_LETTER + i).sum(1)
        character[covered >= 6] = CHARACTERS.index(letter.character) + 1
        character[_patch(scene.mask, letter.x, letter.y)] = CHARACTERS.index(letter.character) + 1
        color[covered > 0] = UNSURE
    return shape, color, character, center


def _cells(mask: Image.Image) -> Array:
    """The mask in the square the model sees, as 64 patches of 16 cells."""
    square = _centered(mask, Image.new("L", (max(mask.size),) * 2, OUTSIDE))
    fine = np.asarray(square.resize((GRID * CELLS, GRID * CELLS), Image.Resampling.NEAREST), np.int64)
    return fine.reshape(GRID, CELLS, GRID, CELLS).transpose(0, 2, 1, 3).reshape(GRID**2, CELLS**2)


def _patch(mask: Image.Image, x: float, y: float) -> int:
    side = max(mask.size)
    column, row = (
        min(GRID - 1, max(0, int((v + (side - length) // 2) / side * GRID)))
        for v, length in zip((x, y), mask.size, strict=True)
    )
    return row * GRID + column


class PatchProbe(nn.Module):
    SPLIT = (len(SHAPES) + 1, len(COLOR_NAMES), len(CHARACTERS) + 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, sum(self.SPLIT))

    def forward(self, features: torch.Tensor, scenes: list[Scene]) -> torch.Tensor:
        """The loss."""
        truth = labels(scenes)
        shape, color, character, center = self.read(features.float()).split(self.SPLIT, -1)
        weights = torch.tensor([0.3] + [1.0] * len(CHARACTERS))  # most patches hold no character
        loss: torch.Tensor = (
            F.cross_entropy(shape.flatten(0, 1), truth.shape.flatten())
            + F.cross_entropy(color.flatten(0, 1), truth.color.flatten(), ignore_index=UNSURE)
            + 1.5 * F.cross_entropy(character.flatten(0, 1), truth.character.flatten(), weights)
            + F.binary_cross_entropy_with_logits(center[..., 0], truth.center, pos_weight=torch.tensor(4.0))
        )
        return loss
