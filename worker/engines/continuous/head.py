"""What need not be computed of a prompt."""

from dataclasses import dataclass
from typing import Any

import torch

from worker.engines.continuous.encoded import Encoded
from worker.engines.continuous.past import Past


@dataclass(frozen=True)
class Head:
    """What is known of a prompt: its first `start` tokens, and the pictures behind these.

    `inputs` are what `generate()` takes for the whole prompt, with pixels where it is to encode them. Else
    `sight` holds all pictures but those of the first `skipped` placeholders, if there are more. `logits`
    [1, vocabulary] are there where the whole prompt is known.
    """

    inputs: dict[str, Any]
    start: int = 0
    past: Past | None = None
    logits: torch.Tensor | None = None
    sight: Encoded | None = None
    skipped: int = 0
