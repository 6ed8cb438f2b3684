"""A linear reader over the eye's patches: it gives the eye something dense to learn, and is thrown away."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from training.architecture import EYE_WIDTH
from training.labels import UNSURE, Labels, labels
from training.scene import Scene
from training.world import CHARACTERS, COLOR_NAMES, SHAPES

SPLIT = (len(SHAPES) + 1, len(COLOR_NAMES), len(CHARACTERS) + 1, 1)

CHARACTER_WEIGHT = torch.tensor([0.3] + [1.0] * len(CHARACTERS))  # most patches hold no character


class Probe(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(EYE_WIDTH, sum(SPLIT))

    def forward(self, seen: torch.Tensor, scenes: list[Scene]) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss, and the share of patches read rightly."""
        truth = labels(scenes)
        shape, color, character, center = self.read(seen.float()).split(SPLIT, -1)
        loss: torch.Tensor = (
            F.cross_entropy(shape.flatten(0, 1), truth.shape.flatten())
            + F.cross_entropy(color.flatten(0, 1), truth.color.flatten(), ignore_index=UNSURE)
            + 1.5 * F.cross_entropy(character.flatten(0, 1), truth.character.flatten(), CHARACTER_WEIGHT)
            + F.binary_cross_entropy_with_logits(center[..., 0], truth.center, pos_weight=torch.tensor(4.0))
        )
        return loss, _accuracy(truth, shape, color, character)


def _accuracy(
    truth: Labels, shape: torch.Tensor, color: torch.Tensor, character: torch.Tensor
) -> dict[str, float]:
    return {
        "shape": _share(shape, truth.shape, truth.shape > 0),
        "color": _share(color, truth.color, truth.color != UNSURE),
        "character": _share(character, truth.character, truth.character > 0),
    }


def _share(guess: torch.Tensor, truth: torch.Tensor, where: torch.Tensor) -> float:
    return (guess.argmax(-1) == truth)[where].float().mean().nan_to_num().item()
