"""The part of a prompt that is known already and need not be computed."""

from dataclasses import dataclass
from typing import Any

import torch

from worker.engines.continuous.encoded import Encoded
from worker.engines.continuous.past import Past


@dataclass(frozen=True)
class Head:
    """What is known of a prompt: its first `start` tokens, and the encoded pictures after these.

    `inputs` are what `generate()` takes for the whole prompt, with pixels if it has to encode the pictures.
    Otherwise `pictures` holds all pictures except those of the first `skipped` placeholders, if any are left.
    `logits` [1, vocabulary] are present if the whole prompt is known.
    """

    inputs: dict[str, Any]
    start: int = 0
    past: Past | None = None
    logits: torch.Tensor | None = None
    pictures: Encoded | None = None
    skipped: int = 0
