"""Turns a way to ask into what somebody types: British or American, in a hurry, polite."""

import random
import re
from collections.abc import Mapping

from training.clauses import CLAUSES, turned
from training.held_out import is_held_out
from training.loosening import loosen
from training.phrases import CLOSERS, KNOWN, OPENERS, SLOTS

TURNED = 0.2
LOOSENED = 0.2
_BEFORE_VOWEL = re.compile(r"\b([Aa]) (?=[aeiou])")
_SPELLED = re.compile(r"\btext [A-Z0-9]+")


class Voice:
    def __init__(
        self, rng: random.Random, phrases: Mapping[str, tuple[str, ...]] = KNOWN, freely: bool = False
    ) -> None:
        """`freely` words a share of the questions as in no list, and none as in the held-out lists."""
        self.rng = rng
        self._phrases = phrases
        self._freely = freely

    def ask(self, way: str, **names: str) -> str:
        while True:
            slots = {slot: self.rng.choice(words) for slot, words in SLOTS.items()}
            question = _BEFORE_VOWEL.sub(r"\1n ", self._template(way).format(**slots, **names))
            if not self._freely or not is_held_out(question):
                return question

    def _template(self, way: str) -> str:
        if self._freely and way in CLAUSES and self.rng.random() < TURNED:
            return turned(self.rng, way)
        return self.rng.choice(self._phrases[way])

    def loose(self, question: str) -> str:
        if not self._freely or self.rng.random() >= LOOSENED or _SPELLED.search(question):
            return question
        said = loosen(self.rng, question)
        return question if is_held_out(said) else said

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
