"""Turns a way to ask into what somebody types: British or American, in a hurry, polite."""

import random
from collections.abc import Mapping

from training.phrases import CLOSERS, KNOWN, OPENERS, SLOTS


class Voice:
    def __init__(self, rng: random.Random, phrases: Mapping[str, tuple[str, ...]] = KNOWN) -> None:
        self.rng = rng
        self._phrases = phrases

    def ask(self, way: str, **names: str) -> str:
        slots = {slot: self.rng.choice(words) for slot, words in SLOTS.items()}
        return self.rng.choice(self._phrases[way]).format(**slots, **names)

    def typed(self, question: str) -> str:
        chance, case = self.rng.random(), self.rng.random()
        if self.rng.random() < 0.4:
            question = question.replace("color", "colour").replace("gray", "grey")
        if case < 0.15:
            question = question.lower()
        if chance < 0.08:
            return question.rstrip("?.")
        if chance < 0.13:
            return self.rng.choice(OPENERS) + question
        return question + self.rng.choice(CLOSERS) if chance < 0.18 else question
