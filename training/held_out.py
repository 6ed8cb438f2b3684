"""The held-out questions: fresh pictures from seeds of their own, asked in known or in unseen words.

One type is one row of the table. A case is what a user would send, and the one right answer.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from training import questions
from training.drawing import KINDS_IN_PAIRS, draw_scene, pick
from training.json_answers import KEYS, facts
from training.phrases import GUIDES, Wording
from training.questions import QUESTIONS, REFUSAL, Pair, Turn, follow_up
from training.scene import Scene, describe, sentence, there_are


class Message(NamedTuple):
    """A question with its pictures; all but the last of a case have been answered."""

    question: str
    pictures: tuple[Scene, ...] = ()
    answer: str = ""


@dataclass(frozen=True)
class Case:
    """`group` splits a row: the digit, the text's length. The answer continues a `prefix`."""

    messages: tuple[Message, ...]
    answer: str
    group: str = ""
    prefix: str = ""

    @property
    def question(self) -> str:
        return self.messages[-1].question

    def chat(self) -> list[dict[str, Any]]:
        """As Transformers' chat templates take it."""
        chat: list[dict[str, Any]] = []
        for question, scenes, answer in self.messages:
            pictures = [{"type": "image", "image": scene.image} for scene in scenes]
            chat.append({"role": "user", "content": [*pictures, {"type": "text", "text": question}]})
            chat.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        return chat[:-1]


Maker = Callable[[Wording], Case | None]


def cases(kind: str, unseen: bool, number: int) -> Iterator[Case]:
    wording = Wording(random.Random(f"held-out {kind} {unseen}"), unseen)
    while number:
        case = MAKERS[kind](wording)
        if case is not None:
            number -= 1
            yield case


def _single(kind: str, scenes: tuple[str | None, ...] = (None,)) -> Maker:
    def make(wording: Wording) -> Case | None:
        scene = draw_scene(wording.rng, wording.rng.choice(scenes))
        turn = QUESTIONS[kind].ask(wording, scene)
        if turn is None or turn.kind != kind:
            return None
        question = wording.typed(turn.question)
        none_to_count = (kind, turn.answer) == ("count", "0")
        group = turn.answer if kind in ("count", "shape") else ""
        group = f"{len(turn.answer)} letters" if kind == "text" else group
        return None if none_to_count else Case((Message(question, (scene,)),), turn.answer, group)

    return make


def _pair(*askers: Callable[[Wording, Pair], Turn | None]) -> Maker:
    def make(wording: Wording) -> Case | None:
        rng = wording.rng
        first, second = (draw_scene(rng, pick(rng, KINDS_IN_PAIRS)) for _ in range(2))
        turn = rng.choice(askers)(wording, (first, second))
        if turn is None:
            return None
        return Case((Message(wording.typed(turn.question), (first, second)),), turn.answer)

    return make


def _follow_up(wording: Wording) -> Case | None:
    """The fourth question of a chat whose first three were answered rightly."""
    rng = wording.rng
    scene, messages = draw_scene(rng, rng.choice(("single", "several"))), list[Message]()
    turn: Turn | None = None
    for i in range(3):
        turn = QUESTIONS[rng.choice(("color", "shape", "where"))].ask(wording, scene)
        if turn is None or turn.about is None:
            return None
        messages.append(Message(wording.typed(turn.question), () if i else (scene,), turn.answer))
    last = follow_up(wording, scene, turn) if turn else None
    return None if last is None else Case((*messages, Message(wording.typed(last.question))), last.answer)


def _off_topic(wording: Wording) -> Case:
    question = questions.off_topic(wording.rng, unseen=True)
    return Case((Message(question, (draw_scene(wording.rng),)),), REFUSAL)


def _json(wording: Wording) -> Case | None:
    """A value of an object about one figure, as a schema without an enumeration asks for it."""
    scene = draw_scene(wording.rng, "single")
    strings = {name: value for name, value in facts(scene).items() if isinstance(value, str) and value}
    name = wording.rng.choice(list(strings))
    prefix = f'{{"{wording.rng.choice(KEYS[name])}": "'
    return Case((Message(wording.question("describe"), (scene,)),), strings[name], name, prefix)


def _guide(wording: Wording) -> Case | None:
    """The questions of the guides, letter by letter as they are printed there."""
    way = wording.rng.choice(list(GUIDES))
    question, scene = wording.rng.choice(GUIDES[way]), draw_scene(wording.rng)
    answer, before = describe(scene), list[Message]()
    pictures: tuple[Scene, ...] = (scene,)
    if answer is None:
        return None
    if way == "color of the shape":
        alone = len(scene.figures) == 1
        answer = sentence(scene.figures[0].color) if alone else there_are("shape", len(scene.figures))
    elif way != "describe":
        other = draw_scene(wording.rng)
        caption = describe(other)
        if caption is None:
            return None
        if way == "next":
            before = [Message(GUIDES["describe"][2], (other,), caption)]
        else:
            pictures = (scene, other)
            turn = questions.both(wording, pictures)
            answer = turn.answer if turn else ""
    return Case((*before, Message(question, pictures)), answer, question)


MAKERS: dict[str, Maker] = {
    "color": _single("color"),
    "background": _single("background"),
    "shape": _single("shape"),
    "yes/no": _single("yes/no"),
    "count": _single("count", ("count", "count", "several")),
    "where": _single("where"),
    "text": _single("text", ("text",)),
    "describe": _single("describe"),
    "which of two": _pair(*[questions.which] * 4, questions.more),
    "about one of two": _pair(questions.about_one),
    "follow-up": _follow_up,
    "outside": _off_topic,
    "absent": _single("absent"),
    "vague": _single("vague", ("several", "count")),
    "in a form": _json,
    "guides": _guide,
}
