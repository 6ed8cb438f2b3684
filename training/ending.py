"""The second phase's last quarter once more, starting from finished weights.

This teaches a longer list of questions in a quarter of an hour instead of two hours. The optimiser's state is
not among the weights: it begins anew, at rates that have fallen already.
"""

from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from training.phase import Stateful
from training.probe import Probe
from training.speaking import Speaking

SINCE = 0.75
# Beyond the steps of every earlier run, so that all questions are new.
FIRST_STEP = 400_000


class Ending:
    name = "ending"

    def __init__(self, seed: int, model: Path) -> None:
        self.tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(model)
        old = LlavaForConditionalGeneration.from_pretrained(model, dtype=torch.float32)
        # A new probe does no harm: this late its loss is off.
        seen = {"eye": old.model.vision_tower.state_dict(), "probe": Probe().state_dict()}
        self.speaking = Speaking(seed, self.tokenizer, seen)
        self.speaking.model.load_state_dict(old.state_dict())

    def parts(self) -> dict[str, Stateful]:
        return self.speaking.parts()

    def step(self, number: int, done: float) -> dict[str, float]:
        return self.speaking.step(FIRST_STEP + number, SINCE + (1 - SINCE) * done)
