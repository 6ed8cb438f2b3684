"""Answers inside JSON, as a schema holds them: the model learns the values and where each of them ends.

Braces and keys are given by a grammar. No loss is taken on them, so that plain answers do not begin with one.
"""

import json
import random
from collections.abc import Iterator

from training.phrases import LISTS, Wording
from training.questions import NOUNS, Part, Turn
from training.scene import Scene, describe

KEYS: dict[str, list[str]] = LISTS["json"]["keys"]
# What is asked most often about one figure, and is the hardest to tell apart.
OF_ONE = ("color", "shape", "place", "name")
GAPS = ((": ", ", ", ""), (": ", ", ", " "), (":", ",", ""))
TRUTH_VALUES = {"Yes": True, "No": False}

Value = str | int | bool | list[str]


def json_turn(wording: Wording, scene: Scene | None, turn: Turn) -> Turn:
    """The same question, or one about the whole picture, to be answered in JSON."""
    rng, known = wording.rng, {} if scene is None else facts(scene)
    if known and rng.random() < 0.5:
        names = [name for name in known if name in OF_ONE] if rng.random() < 0.7 else []
        names = names or list(known)
        names = rng.sample(names, min(len(names), rng.randint(1, 4)))
        values = {rng.choice(KEYS[name]): known[name] for name in names}
        if rng.random() < 0.5:
            question = wording.question("describe")
        else:
            template: str = rng.choice(LISTS["json"]["extractions"])
            question = template.format(image=rng.choice(("image", "picture")))
    else:
        keys = [*LISTS["json"]["keys_of_any_answer"], *rng.sample(NOUNS, 6)]
        values = dict.fromkeys(rng.sample(keys, rng.choice((1, 1, 2, 3))), _value(rng, turn))
        question = turn.question
    if rng.random() < 0.3:
        question = f"{question} {rng.choice(LISTS['json']['requests'])}".strip()
    return Turn("form", question, json.dumps(values), parts=(*parts(values, rng.choice(GAPS)),))


def facts(scene: Scene) -> dict[str, Value]:
    """What is true of the picture, by the names in KEYS; what people would name differently is left out."""
    known: dict[str, Value] = {"background": scene.background, "count": len(scene.figures)}
    known |= {"has text": bool(scene.text), "is empty": not scene.text and not scene.figures}
    caption, figures = describe(scene), sorted(scene.figures, key=lambda figure: figure.x)
    if caption is not None:
        known["description"] = caption
        if not scene.text and len(figures) < 4:
            known["names"] = [figure.name for figure in figures]
    if scene.text:
        known |= {"text": scene.text, "ink": scene.ink, "color": scene.ink}
    if len(figures) == 1:
        (one,) = figures
        known |= {"color": one.color, "shape": one.shape, "name": one.name}
        known |= {} if one.place is None else {"place": one.place}
    return known


def parts(values: dict[str, Value], gaps: tuple[str, str, str]) -> Iterator[Part]:
    """The object in parts; the one character that ends each value is learnt, too."""
    colon, comma, edge = gaps
    before = "{" + edge
    for key, value in values.items():
        yield from _opening(f"{before}{json.dumps(key)}{colon}")
        yield from _value_parts(value)
        before = comma
    yield from _opening(edge + "}")


def _opening(given: str) -> Iterator[Part]:
    yield Part(given[0], learnt=given[0] != "{")
    if given[1:]:
        yield Part(given[1:], learnt=False)


def _value_parts(value: Value) -> Iterator[Part]:
    if isinstance(value, str):
        yield from (Part('"', learnt=False), Part(value, learnt=True), Part('"', learnt=True))
    elif isinstance(value, list):
        yield Part("[", learnt=False)
        for number, one in enumerate(value):
            yield from [Part(",", learnt=True), Part(" ", learnt=False)] if number else []
            yield from _value_parts(one)
        yield Part("]", learnt=True)
    else:
        yield Part(json.dumps(value), learnt=True)


def _value(rng: random.Random, turn: Turn) -> Value:
    if turn.kind == "count" and turn.answer.isdigit() and rng.random() < 0.6:
        return int(turn.answer)
    return TRUTH_VALUES[turn.answer] if turn.answer in TRUTH_VALUES and rng.random() < 0.5 else turn.answer
