"""Answers in a form are true, and only what a grammar leaves open is learnt of them."""

import json
import random

from training.conversation import conversation
from training.forms import GAPS, Value, facts, parts
from training.painter import paint
from training.questions import Turn


def turns() -> list[Turn]:
    return [said.turn for seed in range(100) for said in conversation(random.Random(seed))]


def test_a_form_is_valid_json() -> None:
    formed = [turn for turn in turns() if turn.form]
    assert len(formed) > 40
    for turn in formed:
        assert json.loads("".join(part.text for part in turn.form)) == json.loads(turn.answer)


def test_it_learns_values_and_their_ends_and_never_to_begin_an_object() -> None:
    values: dict[str, Value] = {"color": "red", "count": 2, "objects": ["red star", "blue star"], "items": []}
    for gaps in GAPS:
        learnt = [part.text for part in parts(values, gaps) if part.learnt]
        assert "".join(learnt).strip("} ") == 'red",2,red star",blue star"],]'
        assert not any("{" in text or "color" in text for text in learnt)


def test_a_plain_answer_does_not_begin_like_a_form() -> None:
    assert not [turn for turn in turns() if not turn.form and turn.answer.startswith("{")]


def test_what_a_form_says_is_true_of_its_picture() -> None:
    for seed in range(60):
        scene = paint(random.Random(seed))
        told = facts(scene)
        assert told["count"] == len(scene.figures)
        assert (told.get("text", ""), told["has text"]) == (scene.text, bool(scene.text))
        if len(scene.figures) == 1:
            figure = scene.figures[0]
            assert (told["color"], told["shape"], told["name"]) == (figure.color, figure.shape, figure.name)
        elif scene.figures:
            assert not told.keys() & {"color", "shape", "name", "place"}
