"""The first phase: the eye alone learns what each of its patches shows."""

import random

import torch

from training.architecture import new_eye
from training.optimiser import Optimiser, learn, warmed_up
from training.painter import paint
from training.phase import Stateful
from training.pixels import batch
from training.probe import Probe

BATCH = 64
# Characters are the hardest to tell apart: far more texts than any question would need.
KINDS = {"single": 0.20, "several": 0.22, "count": 0.15, "text": 0.42, "empty": 0.01}


class Seeing:
    name = "seeing"

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self._seed = seed
        self.eye, self.probe = new_eye(), Probe()
        self.optimiser = Optimiser([(self.eye, 1.0), (self.probe, 1.0)])

    def parts(self) -> dict[str, Stateful]:
        return {"eye": self.eye, "probe": self.probe, "optimiser": self.optimiser}

    def step(self, number: int, done: float) -> dict[str, float]:
        rng = random.Random(f"{self.name} {self._seed} {number}")
        kinds = rng.choices(list(KINDS), list(KINDS.values()), k=BATCH)
        scenes = [paint(rng, kind) for kind in kinds]
        with torch.autocast("cpu", torch.bfloat16):
            seen = self.eye(batch(rng, scenes), output_hidden_states=True).hidden_states[-1]
        loss, shares = self.probe(seen, scenes)
        learn(loss, warmed_up(number, max(0.3, min(1.0, (1 - done) * 4))), self.optimiser)
        return {"pictures": BATCH, "loss": loss.item(), **shares}
