"""Ways to ask: those held out are never trained on, and freer wordings ask for the same."""

import random
import re
from typing import Any

from training.phrases import CLAUSES, GUIDES, KNOWN, SLOTS, UNSEEN, clause_question, is_held_out, loosen

CARRYING = {"how", "many", "red", "circles", "there"}


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


def test_clauses_are_turned_as_english_turns_them() -> None:
    rng = random.Random(1)
    questions = {clause_question(rng, way) for way in CLAUSES for _ in range(400)}
    assert questions >= {
        "I wonder what color it is.",
        "Which color do you think it has?",
        "This is what color?",
        "Do you suppose there is a {o}?",
        "There are how many {thing}s?",
        "Do you know which {image} has the {o}?",
        "Which one do you believe shows the {o}?",
    }
    assert not any(question.startswith("Has the {o}") for question in questions)


def test_the_questions_of_the_guides_are_trained_on() -> None:
    for way, questions in GUIDES.items():
        trained = {template.format(image="image", thing="shape") for template in KNOWN[way]}
        assert trained >= set(questions)


def test_a_loosened_question_still_asks_for_the_same() -> None:
    """A word too many lost, and the model would be taught answers to questions nobody asked."""
    rng = random.Random(1)
    for _ in range(500):
        words = loosen(rng, "How many red circles are there?").lower().split()
        assert [w for w in words if w.strip("?") in CARRYING] == ["how", "many", "red", "circles", "there?"]
