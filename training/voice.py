"""Turns a way to ask into what somebody types: British or American, in a hurry, polite."""

import random
import re
from collections.abc import Mapping

from training.loosening import loosen
from training.phrases import CLOSERS, KNOWN, OPENERS, SLOTS

_BEFORE_VOWEL = re.compile(r"\b([Aa]) (?=[aeiou])")
_SPELLED = re.compile(r"\btext [A-Z0-9]+")


class Voice:
    def __init__(
        self, rng: random.Random, phrases: Mapping[str, tuple[str, ...]] = KNOWN, loosened: float = 0.0
    ) -> None:
        """`loosened` is the share of questions said as no list says them."""
        self.rng = rng
        self._phrases = phrases
        self._loosened = loosened

    def ask(self, way: str, **names: str) -> str:
        slots = {slot: self.rng.choice(words) for slot, words in SLOTS.items()}
        return _BEFORE_VOWEL.sub(r"\1n ", self.rng.choice(self._phrases[way]).format(**slots, **names))

    def loose(self, question: str) -> str:
        if self.rng.random() >= self._loosened or _SPELLED.search(question):
            return question
        return loosen(self.rng, question)

    def typed(self, question: str) -> str:
        if not question:
            return ""
        chance, case = self.rng.random(), self.rng.random()
        if self.rng.random() < 0.4:
            question = question.replace("color", "colour").replace("gray", "grey")
        if case < 0.15 and not _SPELLED.search(question):
            question = question.lower()
        if chance < 0.08:
            return question.rstrip("?.")
        if chance < 0.13:
            return self.rng.choice(OPENERS) + question
        return question + self.rng.choice(CLOSERS) if chance < 0.18 else question
