"""What each of the 64 patches of a scene shows: the targets of the first phase.

Language alone teaches the eye too slowly: dense labels bring shapes and characters within minutes.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from training.pixels import GRID, centered
from training.scene import Scene
from training.world import CHARACTERS, COLOR_NAMES, SHAPES

UNSURE = -100  # what cross_entropy leaves out
OUTSIDE = 255
FIRST_LETTER = 10
FINE = 4  # mask cells per patch and direction


class Labels(NamedTuple):
    """Per patch: 0 or 1 + index of a shape; index of a colour; 0 or 1 + index of a character; a centre?"""

    shape: torch.Tensor
    color: torch.Tensor
    character: torch.Tensor
    center: torch.Tensor


def labels(scenes: list[Scene]) -> Labels:
    columns = zip(*map(_of, scenes), strict=True)
    return Labels(*(torch.from_numpy(np.stack(column)) for column in columns))


Array = npt.NDArray[np.int64]


def _of(scene: Scene) -> tuple[Array, Array, Array, npt.NDArray[np.float32]]:
    cells = _cells(scene)
    shape, character = np.zeros(GRID**2, np.int64), np.zeros(GRID**2, np.int64)
    color = np.full(GRID**2, COLOR_NAMES.index(scene.background), np.int64)
    center = np.zeros(GRID**2, np.float32)
    color[(cells == OUTSIDE).sum(1) > FINE**2 // 2] = UNSURE
    for i, figure in enumerate(scene.figures):
        covered = (cells == i + 1).sum(1)
        shape[covered >= 4] = SHAPES.index(figure.shape) + 1
        color[covered >= 8] = COLOR_NAMES.index(figure.color)
        color[(covered > 0) & (covered < 8)] = UNSURE
        center[_patch(scene, figure.x, figure.y)] = 1
    for i, letter in enumerate(scene.letters):
        covered = (cells == FIRST_LETTER + i).sum(1)
        character[covered >= 6] = CHARACTERS.index(letter.character) + 1
        character[_patch(scene, letter.x, letter.y)] = CHARACTERS.index(letter.character) + 1
        color[covered > 0] = UNSURE
    return shape, color, character, center


def _cells(scene: Scene) -> Array:
    """The mask in the square the model sees, as 64 patches of 16 cells."""
    side = max(scene.mask.size)
    square = centered(scene.mask, side, Image.new("L", (side, side), OUTSIDE))
    fine = np.asarray(square.resize((GRID * FINE, GRID * FINE), Image.Resampling.NEAREST), np.int64)
    return fine.reshape(GRID, FINE, GRID, FINE).transpose(0, 2, 1, 3).reshape(GRID**2, FINE**2)


def _patch(scene: Scene, x: float, y: float) -> int:
    width, height = scene.mask.size
    side = max(width, height)
    column, row = (
        min(GRID - 1, max(0, int((v + (side - length) // 2) / side * GRID)))
        for v, length in ((x, width), (y, height))
    )
    return row * GRID + column
