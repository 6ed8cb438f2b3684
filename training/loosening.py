"""Says a question a little differently than any list does: a small word is added, left out or exchanged.

The words that carry the question are never touched. Without this the model answers the phrasings it was
shown, and refuses "How many shapes did you find?".
"""

import random
import re

from training.world import COLORS, SHAPES

SMALL = """
    a an the of in on for to with at by from be been being is are was were can could would will should
    may might must do does did have had having you we i they me us my your our please just only also
    then so well ok really exactly quickly maybe actually again here used made found find finding seen
    look looking known know think guess want need like give given get got let help name kind type sort
    visible drawn painted placed located present any some such each all same certain single main whole
    simply currently today if whether when as than into inside within out up
""".split()  # noqa: SIM905 (a list of words reads as one)
_CARRIES = {
    *"""
    how many what which where whereabouts count number there it its this that these those one ones two
    both first second them more and about now next color colors shape shapes figure figures object
    objects thing things image images picture pictures photo photos background behind text letters
    digits word written writing sign say says read transcribe describe description caption depicted
    shown show shows see position place part corner side contain contains has no not text's summarize
    explain happening identify
    """.split(),  # noqa: SIM905
    *(word for name in (*SHAPES, *COLORS) for word in (name, f"{name}s")),
}
_LETTERS = re.compile(r"[a-z']+")


def loosen(rng: random.Random, question: str) -> str:
    before = question.split(" ")
    words = before
    for _ in range(rng.choice((1, 1, 2))):
        words = _edit(rng, words)
    return " ".join(words if words[0] == before[0] else _begun(words, before[0]))


def _begun(words: list[str], displaced: str) -> list[str]:
    """Moves the capital to the sentence's new first word."""
    kept = [word.lower() if word == displaced and word != "I'd" else word for word in words[1:]]
    return [words[0].capitalize(), *kept]


def _edit(rng: random.Random, words: list[str]) -> list[str]:
    place = rng.randrange(len(words))
    if rng.random() < 0.4 or not _is_small(words[place]):
        return [*words[:place], rng.choice(SMALL), *words[place:]]
    kept = words[:place], words[place + 1 :]
    other = [rng.choice(SMALL)] if rng.random() < 0.6 or len(words) < 3 else []
    return [*kept[0], *other, *kept[1]]


def _is_small(word: str) -> bool:
    found = _LETTERS.fullmatch(word.lower())
    return found is not None and found[0] not in _CARRIES
