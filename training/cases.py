"""The held-out questions: fresh pictures from seeds of their own, asked in known or in unseen words.

One type is one row of the table. A case is what a user would send, and the one right answer.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from training.conversation import KINDS_IN_PAIRS, pick
from training.forms import KEYS, facts
from training.outside import REFUSAL, outside
from training.painter import paint
from training.pairs import about_one, both, more, which
from training.phrases import GUIDES, KNOWN, UNSEEN
from training.questions import ASKERS, Turn, follow_up
from training.scene import Scene
from training.truth import describe, sentence, there_are
from training.voice import Voice


@dataclass(frozen=True)
class Said:
    question: str
    pictures: tuple[Scene, ...] = ()
    answer: str = ""


@dataclass(frozen=True)
class Case:
    """`asked` ends with the question to be answered. `group` splits a row: the digit, the text's length.

    The answer comes behind what is `begun` of it.
    """

    asked: tuple[Said, ...]
    answer: str
    group: str = ""
    begun: str = ""

    @property
    def pictures(self) -> tuple[Scene, ...]:
        return tuple(picture for said in self.asked for picture in said.pictures)


Maker = Callable[[Voice], Case | None]


def cases(kind: str, unseen: bool, number: int) -> Iterator[Case]:
    voice = Voice(random.Random(f"held-out {kind} {unseen}"), UNSEEN if unseen else KNOWN)
    made = 0
    while made < number:
        case = MAKERS[kind](voice)
        if case is not None:
            made += 1
            yield case


def _single(kind: str, scenes: tuple[str | None, ...] = (None,)) -> Maker:
    def make(voice: Voice) -> Case | None:
        scene = paint(voice.rng, voice.rng.choice(scenes))
        turn = ASKERS[kind](voice, scene)
        if turn is None or turn.kind != kind:
            return None
        return Case((Said(voice.typed(turn.question), (scene,)),), turn.answer, _group(kind, turn.answer))

    return make


def _group(kind: str, answer: str) -> str:
    if kind == "text":
        return f"{len(answer)} letters"
    return answer if kind in ("count", "shape") else ""


def _count(voice: Voice) -> Case | None:
    case = _single("count", ("count", "count", "several"))(voice)
    return None if case is None or case.answer == "0" else case


def _pair(*askers: Callable[[Voice, tuple[Scene, Scene]], Turn | None]) -> Maker:
    def make(voice: Voice) -> Case | None:
        pair = (
            paint(voice.rng, pick(voice.rng, KINDS_IN_PAIRS)),
            paint(voice.rng, pick(voice.rng, KINDS_IN_PAIRS)),
        )
        turn = voice.rng.choice(askers)(voice, pair)
        return None if turn is None else Case((Said(voice.typed(turn.question), pair),), turn.answer)

    return make


def _follow_up(voice: Voice) -> Case | None:
    """The fourth question of a chat whose first three were answered rightly."""
    scene, said = paint(voice.rng, voice.rng.choice(("single", "several"))), list[Said]()
    turn: Turn | None = None
    for i in range(3):
        turn = ASKERS[voice.rng.choice(("color", "shape", "where"))](voice, scene)
        if turn is None or turn.about is None:
            return None
        said.append(Said(voice.typed(turn.question), () if i else (scene,), turn.answer))
    last = follow_up(voice, scene, turn) if turn else None
    return None if last is None else Case((*said, Said(voice.typed(last.question))), last.answer)


def _outside(voice: Voice) -> Case:
    question = outside(voice.rng, unseen=True)
    return Case((Said(question, (paint(voice.rng),)),), REFUSAL)


def _form(voice: Voice) -> Case | None:
    """A value of an object about one figure, as a schema without an enumeration asks for it."""
    scene = paint(voice.rng, "single")
    told = {name: value for name, value in facts(scene).items() if isinstance(value, str) and value}
    name = voice.rng.choice(list(told))
    begun = f'{{"{voice.rng.choice(KEYS[name])}": "'
    return Case((Said(voice.ask("describe"), (scene,)),), str(told[name]), name, begun)


def _guide(voice: Voice) -> Case | None:
    """The questions of the guides, letter by letter as they are printed there."""
    way = voice.rng.choice(list(GUIDES))
    question, scene = voice.rng.choice(GUIDES[way]), paint(voice.rng)
    told = describe(scene)
    if told is None:
        return None
    if way == "color of the shape":
        one = len(scene.figures) == 1
        answer = sentence(scene.figures[0].color) if one else there_are("shape", len(scene.figures))
        return Case((Said(question, (scene,)),), answer, question)
    if way == "describe":
        return Case((Said(question, (scene,)),), told, question)
    other = paint(voice.rng)
    if way == "next":
        before = describe(other)
        asked = Said(GUIDES["describe"][2], (other,), before or "")
        return None if before is None else Case((asked, Said(question, (scene,))), told, question)
    turn = both(voice, (scene, other))
    return None if turn is None else Case((Said(question, (scene, other)),), turn.answer, question)


MAKERS: dict[str, Maker] = {
    "color": _single("color"),
    "background": _single("background"),
    "shape": _single("shape"),
    "yes/no": _single("yes/no"),
    "count": _count,
    "where": _single("where"),
    "text": _single("text", ("text",)),
    "describe": _single("describe"),
    "which of two": _pair(which, which, which, which, more),
    "about one of two": _pair(about_one),
    "follow-up": _follow_up,
    "outside": _outside,
    "absent": _single("absent"),
    "vague": _single("vague", ("several", "count")),
    "in a form": _form,
    "guides": _guide,
}
