"""Ways to ask: those held out are never trained on, those of the guides are."""

import re
from typing import Any

from training.phrases import KNOWN, SLOTS, UNSEEN, is_held_out


def spelled(phrases: dict[str, list[str]]) -> set[str]:
    """Every question in every choice of words, as far as letters go."""
    some: dict[str, Any] = {"s": "star", "c": "red", "o": "star"}
    questions: set[str] = set()
    for template in (t for way in phrases.values() for t in way):
        for image in SLOTS["image"]:
            for thing in SLOTS["thing"]:
                question = template.format(image=image, thing=thing, **some)
                questions.add(re.sub(r"[^a-z ]", "", question.lower()))
    return questions


def test_no_held_out_way_to_ask_is_trained_on() -> None:
    assert not spelled(KNOWN) & spelled(UNSEEN)
    assert KNOWN.keys() == UNSEEN.keys()
    assert all(map(is_held_out, spelled(UNSEEN)))
