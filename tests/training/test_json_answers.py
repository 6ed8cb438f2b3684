"""Answers in JSON are true, and only what a grammar leaves open is learnt of them."""

import json
import random

from training.dataset import conversation
from training.drawing import draw_scene
from training.json_answers import GAPS, Value, facts, parts
from training.questions import Turn


def turns() -> list[Turn]:
    return [said.turn for seed in range(100) for said in conversation(random.Random(seed))]


def test_an_answer_in_json_is_valid() -> None:
    in_json = [turn for turn in turns() if turn.parts]
    assert len(in_json) > 40
    for turn in in_json:
        assert json.loads("".join(part.text for part in turn.parts)) == json.loads(turn.answer)


def test_it_learns_values_and_their_ends_and_never_to_begin_an_object() -> None:
    values: dict[str, Value] = {"color": "red", "count": 2, "objects": ["red star", "blue star"], "items": []}
    for gaps in GAPS:
        learnt = [part.text for part in parts(values, gaps) if part.learnt]
        assert "".join(learnt).strip("} ") == 'red",2,red star",blue star"],]'
        assert not any("{" in text or "color" in text for text in learnt)


def test_a_plain_answer_does_not_begin_like_json() -> None:
    assert not [turn for turn in turns() if not turn.parts and turn.answer.startswith("{")]


def test_what_json_says_is_true_of_its_picture() -> None:
    for seed in range(60):
        scene = draw_scene(random.Random(seed))
        known = facts(scene)
        assert known["count"] == len(scene.figures)
        assert (known.get("text", ""), known["has text"]) == (scene.text, bool(scene.text))
        if len(scene.figures) == 1:
            figure = scene.figures[0]
            assert (known["color"], known["shape"], known["name"]) == (
                figure.color,
                figure.shape,
                figure.name,
            )
        elif scene.figures:
            assert not known.keys() & {"color", "shape", "name", "place"}
