"""Answers inside JSON, as a schema holds them: the model learns the values and where each of them ends.

Braces and keys are given by a grammar. No loss is taken on them, so that plain answers do not begin with one.
"""

import json
import random
from collections.abc import Iterator

from training.outside import NOUNS
from training.questions import Part, Turn
from training.scene import Scene
from training.truth import describe
from training.voice import Voice

KEYS = {
    "color": ("color", "colour", "color_name", "main_color", "object_color", "shape_color"),
    "shape": ("shape", "shape_name", "shape_type", "object_shape"),
    "background": ("background", "background_color", "backdrop", "bg_color"),
    "place": ("position", "place", "location", "where"),
    "count": ("count", "number", "total", "n", "shape_count", "number_of_shapes", "num_objects", "quantity"),
    "text": ("text", "letters", "word", "ocr", "transcription", "visible_text"),
    "ink": ("text_color", "ink", "letter_color"),
    "description": ("description", "caption", "summary", "sentence", "alt_text", "scene"),
    "name": ("object", "name", "thing", "label", "object_name"),
    "names": ("objects", "shapes", "figures", "items", "things", "elements"),
    "has text": ("has_text", "contains_text", "is_text"),
    "is empty": ("is_empty", "empty"),
}
SAID = (
    "answer", "response", "result", "reply", "output", "value", "message", "explanation", "reason",
    "reasoning", "thought", "setup", "punchline", "content", "conclusion", "comment", "question", "note",
    "key", "x",
)  # fmt: skip
ASKED = (
    "Answer in JSON.", "Reply in JSON.", "Return JSON.", "Respond with JSON only.", "Use this schema.",
    "Answer as a JSON object.", "Give the answer as JSON.", "Fill in the form.",
)  # fmt: skip
EXTRACTED = (
    "Extract the data.", "Describe the {image} as JSON.", "What is in the {image}? Answer in JSON.",
    "Give me the details of the {image}.", "Extract what you see.", "List the objects in the {image}.",
    "Extract the color and the shape.", "Analyze the {image}.", "Return the facts about the {image}.",
    "Fill in the form.", "Describe the shape as JSON.", "What do you see? Use JSON.",
)  # fmt: skip
# What is asked most often about one figure, and is the hardest to tell apart.
OF_ONE = ("color", "shape", "place", "name")
GAPS = ((": ", ", ", ""), (": ", ", ", " "), (":", ",", ""))
YES = {"Yes": True, "No": False}

Value = str | int | bool | list[str]


def formed(voice: Voice, scene: Scene | None, turn: Turn) -> Turn:
    """The same question, or one about the whole picture, to be answered in a form."""
    rng, told = voice.rng, {} if scene is None else facts(scene)
    if told and rng.random() < 0.5:
        fitting = [name for name in told if name in OF_ONE] if rng.random() < 0.7 else []
        fitting = fitting or list(told)
        names = rng.sample(fitting, min(len(fitting), rng.randint(1, 4)))
        values = {rng.choice(KEYS[name]): told[name] for name in names}
        question = _extracting(voice)
    else:
        values = dict.fromkeys(_keys(rng), _value(rng, turn))
        question = turn.question
    if rng.random() < 0.3:
        question = f"{question} {rng.choice(ASKED)}".strip()
    return Turn("form", question, json.dumps(values), form=(*parts(values, rng.choice(GAPS)),))


def facts(scene: Scene) -> dict[str, Value]:
    """What is true of the picture, by the names in KEYS; what people would name differently is left out."""
    told: dict[str, Value] = {"background": scene.background, "count": len(scene.figures)}
    told |= {"has text": bool(scene.text), "is empty": not scene.text and not scene.figures}
    described, figures = describe(scene), sorted(scene.figures, key=lambda figure: figure.x)
    if described is not None:
        told["description"] = described
        if not scene.text and len(figures) < 4:
            told["names"] = [figure.name for figure in figures]
    if scene.text:
        told |= {"text": scene.text, "ink": scene.ink, "color": scene.ink}
    if len(figures) == 1:
        (one,) = figures
        told |= {"color": one.color, "shape": one.shape, "name": one.name}
        told |= {} if one.place is None else {"place": one.place}
    return told


def parts(values: dict[str, Value], gaps: tuple[str, str, str]) -> Iterator[Part]:
    """The object in parts; behind each value the one character that ends it is learnt, too."""
    colon, comma, edge = gaps
    before = "{" + edge
    for key, value in values.items():
        yield from _begun(f"{before}{json.dumps(key)}{colon}")
        yield from _filled(value)
        before = comma
    yield from _begun(edge + "}")


def _begun(given: str) -> Iterator[Part]:
    yield Part(given[0], learnt=given[0] != "{")
    if given[1:]:
        yield Part(given[1:], learnt=False)


def _filled(value: Value) -> Iterator[Part]:
    if isinstance(value, str):
        yield from (Part('"', learnt=False), Part(value, learnt=True), Part('"', learnt=True))
    elif isinstance(value, list):
        yield Part("[", learnt=False)
        for number, one in enumerate(value):
            yield from [Part(",", learnt=True), Part(" ", learnt=False)] if number else []
            yield from _filled(one)
        yield Part("]", learnt=True)
    else:
        yield Part(json.dumps(value), learnt=True)


def _extracting(voice: Voice) -> str:
    if voice.rng.random() < 0.5:
        return voice.ask("describe")
    return voice.rng.choice(EXTRACTED).format(image=voice.rng.choice(("image", "picture")))


def _keys(rng: random.Random) -> list[str]:
    return rng.sample([*SAID, *rng.sample(NOUNS, 6)], rng.choice((1, 1, 2, 3)))


def _value(rng: random.Random, turn: Turn) -> Value:
    if turn.kind == "count" and turn.answer.isdigit() and rng.random() < 0.6:
        return int(turn.answer)
    return YES[turn.answer] if turn.answer in YES and rng.random() < 0.5 else turn.answer
