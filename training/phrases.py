"""Ways to ask a question: the lists of `phrases.toml`, and freer wordings made from them.

With lists alone a model goes by the words that a question begins with, and refuses "How many shapes did you
find?". So a share of the questions is made from clauses by English grammar, and a share gains, loses or
exchanges a word. Neither may produce a question of the held-out lists by chance.
"""

import random
import re
import tomllib
from pathlib import Path
from typing import Any

from training.scene import COLOR_NAMES, SHAPES

LISTS: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
SLOTS: dict[str, list[str]] = LISTS["slots"]
GUIDES: dict[str, list[str]] = LISTS["guides"]
KNOWN: dict[str, list[str]] = {way: lists["known"] for way, lists in LISTS["ways"].items()}
UNSEEN: dict[str, list[str]] = {way: lists["unseen"] for way, lists in LISTS["ways"].items()}
CLAUSES: dict[str, list[str]] = {
    way: lists["clauses"] for way, lists in LISTS["ways"].items() if "clauses" in lists
}
OPENERS: list[str] = LISTS["typing"]["openers"]
CLOSERS: list[str] = LISTS["typing"]["closers"]
SHARE_OF_CLAUSES = 0.2
SHARE_OF_LOOSE = 0.2
QUESTION_WORD_IS_SUBJECT = ("which", "more")  # so the order of these clauses never changes
SMALL_WORDS: list[str] = LISTS["loosening"]["small"].split()
MEANINGFUL_WORDS = {
    *LISTS["loosening"]["carrying"].split(),
    *(word for name in (*SHAPES, *COLOR_NAMES) for word in (name, f"{name}s")),
}
_BEFORE_VOWEL = re.compile(r"\b([Aa]) (?=[aeiou])")
_SPELLED = re.compile(r"\btext [A-Z0-9]+")


class Wording:
    """Words questions as people do: British or American, in a hurry, polite."""

    def __init__(self, rng: random.Random, unseen: bool = False, free: bool = False) -> None:
        """`free` words a share of the questions as in no list."""
        self.rng = rng
        self._phrases = UNSEEN if unseen else KNOWN
        self._free = free

    def question(self, *ways: str, **names: str) -> str:
        way = self.rng.choice(ways) if len(ways) > 1 else ways[0]
        while True:
            slots = {slot: self.rng.choice(words) for slot, words in SLOTS.items()}
            from_clause = self._free and way in CLAUSES and self.rng.random() < SHARE_OF_CLAUSES
            template = clause_question(self.rng, way) if from_clause else self.rng.choice(self._phrases[way])
            question = _BEFORE_VOWEL.sub(r"\1n ", template.format(**slots, **names))
            if not self._free or not is_held_out(question):
                return question

    def loose(self, question: str) -> str:
        if not self._free or self.rng.random() >= SHARE_OF_LOOSE or _SPELLED.search(question):
            return question
        looser = loosen(self.rng, question)
        return question if is_held_out(looser) else looser

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


def clause_question(rng: random.Random, way: str) -> str:
    """ "what color | it is" -> "Tell me what color it is.", "What color do you think it is?" and the like."""
    word, rest = rng.choice(CLAUSES[way]).split(" | ")
    chance, closed = rng.random(), word in ("if", "whether")
    if chance < 0.45 or (chance >= 0.65 and way in QUESTION_WORD_IS_SUBJECT):
        return str(rng.choice(LISTS["clauses"]["frames"])).replace("{q}", f"{word} {rest}")
    if chance < 0.65:
        thought = rng.choice(LISTS["clauses"]["thoughts"])
        question = f"{thought} {rest}?" if closed else f"{word} {thought} {rest}?"
    else:
        question = f"{rest}?" if closed else f"{rest} {word}?"
    return question[0].upper() + question[1:]


def loosen(rng: random.Random, question: str) -> str:
    """Adds, drops or exchanges a small word or two, never one that carries the question's meaning."""
    before = question.split(" ")
    words = before
    for _ in range(rng.choice((1, 1, 2))):
        words = _edit(rng, words)
    if words[0] != before[0]:  # the capital moves to the new first word
        rest = (w.lower() if w == before[0] and w != "I'd" else w for w in words[1:])
        words = [words[0].capitalize(), *rest]
    return " ".join(words)


def _edit(rng: random.Random, words: list[str]) -> list[str]:
    place = rng.randrange(len(words))
    before, word, after = words[:place], words[place], words[place + 1 :]
    if rng.random() < 0.4 or not _is_small(word):
        return [*before, rng.choice(SMALL_WORDS), word, *after]
    other = [rng.choice(SMALL_WORDS)] if rng.random() < 0.6 or len(words) < 3 else []
    return [*before, *other, *after]


def _is_small(word: str) -> bool:
    return re.fullmatch(r"[a-z']+", word.lower()) is not None and word.lower() not in MEANINGFUL_WORDS


def is_held_out(question: str) -> bool:
    return _HELD_OUT.fullmatch(_letters(question)) is not None


def _letters(question: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", question.lower())


def _pattern(template: str) -> str:
    """Digits stand in for the slots: no way to ask has any."""
    plain = _letters(template.format(image="0", thing="1", s="2", c="2", o="2")).replace(" a 2", " an? 2")
    words = ("|".join(SLOTS["image"]), "|".join(SLOTS["thing"]), "[a-z0-9 ]+")
    return re.sub("[012]", lambda slot: f"(?:{words[int(slot[0])]})", plain)


_HELD_OUT = re.compile("|".join(_pattern(phrase) for phrases in UNSEEN.values() for phrase in phrases))
