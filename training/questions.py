"""Questions about one picture, each with its true answer, or None where the picture does not allow one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from training.outside import REFUSAL, outside
from training.scene import Figure, Scene
from training.truth import describe, sentence, there_are, there_is_no
from training.voice import Voice
from training.world import COLOR_NAMES, SHAPES


class Part(NamedTuple):
    """A piece of an answer, which the model learns or is given."""

    text: str
    learnt: bool


@dataclass(frozen=True)
class Turn:
    """`about` is what "it" means in the next question; `form` are the answer's parts, if some are given."""

    kind: str
    question: str
    answer: str
    about: Figure | None = None
    form: tuple[Part, ...] = ()

    def typed(self, voice: Voice) -> "Turn":
        # Only its nouns tell that a question lies outside, so they stay.
        question = self.question if self.answer == REFUSAL else voice.loose(self.question)
        return replace(self, question=voice.typed(question))


Asker = Callable[[Voice, Scene], Turn | None]


def color(voice: Voice, scene: Scene) -> Turn | None:
    if scene.text:
        way = "color of the text" if voice.rng.random() < 0.8 else "color of it"
        return Turn("color", voice.ask(way), sentence(scene.ink))
    if not scene.figures:
        return None
    figure = voice.rng.choice(scene.figures)
    answer, fitting = sentence(figure.color), scene.called(figure.shape)
    if len(scene.figures) == 1 and voice.rng.random() < 0.5:
        return Turn(
            "color", voice.ask(voice.rng.choice(("color of it", "color of the shape"))), answer, figure
        )
    if len(fitting) == 1:
        return Turn("color", voice.ask("color of", s=figure.shape), answer, figure)
    if len({other.color for other in fitting}) == 1:
        return Turn("color", voice.ask("color of those", s=figure.shape), answer)
    return None


def background(voice: Voice, scene: Scene) -> Turn:
    return Turn("background", voice.ask("background"), sentence(scene.background))


def shape(voice: Voice, scene: Scene) -> Turn | None:
    if not scene.figures:
        return None
    figure = voice.rng.choice(scene.figures)
    if len(scene.figures) == 1 and voice.rng.random() < 0.5:
        return Turn(
            "shape", voice.ask(voice.rng.choice(("shape of it", "shape"))), sentence(figure.shape), figure
        )
    if len(scene.called(figure.color)) > 1:
        return None
    return Turn("shape", voice.ask("shape called", c=figure.color), sentence(figure.shape), figure)


def count(voice: Voice, scene: Scene) -> Turn | None:
    if scene.text and voice.rng.random() < 0.7:
        return None
    chance = voice.rng.random()
    if chance < 0.55 or not scene.figures:
        return Turn("count", voice.ask("count"), str(len(scene.figures)))
    figure = voice.rng.choice(scene.figures)
    if chance < 0.85:
        kind = voice.rng.choice(SHAPES) if voice.rng.random() < 0.3 else figure.shape
        return Turn("count", voice.ask("count called", o=kind), str(len(scene.called(kind))))
    question = voice.ask("count called", o=f"{figure.color} shape")
    return Turn("count", question, str(len(scene.called(figure.color))))


def where(voice: Voice, scene: Scene) -> Turn | None:
    figure = voice.rng.choice(scene.figures) if scene.figures else None
    if figure is None or figure.place is None:
        return None
    answer = sentence(figure.place)
    if len(scene.figures) == 1 and voice.rng.random() < 0.4:
        return Turn(
            "where", voice.ask(voice.rng.choice(("place of it", "place of the shape"))), answer, figure
        )
    name = figure.shape if voice.rng.random() < 0.6 else figure.name
    if len(scene.called(name)) > 1:
        return None
    return Turn("where", voice.ask("place of", o=name), answer, figure)


def text(voice: Voice, scene: Scene) -> Turn | None:
    if scene.text:
        return Turn("text", voice.ask("text"), scene.text)
    return Turn("absent", voice.ask("text"), there_is_no("text")) if voice.rng.random() < 0.1 else None


def description(voice: Voice, scene: Scene) -> Turn | None:
    told = describe(scene)
    about = scene.figures[0] if len(scene.figures) == 1 else None
    return None if told is None else Turn("describe", voice.ask("describe"), told, about)


def yes_or_no(voice: Voice, scene: Scene) -> Turn | None:
    if voice.rng.random() < 0.12:
        return Turn("yes/no", voice.ask("is there text"), "Yes" if scene.text else "No")
    if scene.figures and voice.rng.random() < 0.5:
        figure = voice.rng.choice(scene.figures)
        name = figure.shape if voice.rng.random() < 0.4 else figure.name
        alone = figure if len(scene.called(name)) == 1 else None
        return Turn("yes/no", voice.ask("is there", o=name), "Yes", alone)
    other = missing(voice, scene)
    return None if other is None else Turn("yes/no", voice.ask("is there", o=other), "No")


def missing(voice: Voice, scene: Scene) -> str | None:
    """A name that fits no figure here, but likely half of one: the wrong colour or the wrong shape."""
    shape, color = voice.rng.choice(SHAPES), voice.rng.choice(COLOR_NAMES)
    if scene.figures and voice.rng.random() < 0.7:
        figure = voice.rng.choice(scene.figures)
        shape, color = (figure.shape, color) if voice.rng.random() < 0.5 else (shape, figure.color)
    name = shape if voice.rng.random() < 0.4 else f"{color} {shape}"
    return None if scene.shows(name) else name


def absent(voice: Voice, scene: Scene) -> Turn | None:
    """A question that presupposes something that is not there."""
    name = missing(voice, scene)
    if name is None:
        return None
    if " " not in name:
        question = (
            voice.ask("color of", s=name) if voice.rng.random() < 0.6 else voice.ask("place of", o=name)
        )
        return Turn("absent", question, there_is_no(name))
    color = name.split()[0]
    if voice.rng.random() < 0.5 and color != scene.background and not scene.shows(color):
        return Turn("absent", voice.ask("shape called", c=color), there_is_no(f"{color} shape"))
    return Turn("absent", voice.ask("place of", o=name), there_is_no(name))


def vague(voice: Voice, scene: Scene) -> Turn | None:
    """A question about "the shape" where there is not one, or about "the square" where there are two."""
    several = [f.shape for f in scene.figures if len(scene.called(f.shape)) > 1]
    if several and voice.rng.random() < 0.5:
        name = voice.rng.choice(several)
        differ = len({f.color for f in scene.called(name)}) > 1
        question = voice.ask("color of", s=name) if differ else voice.ask("place of", o=name)
        return Turn("vague", question, there_are(name, len(scene.called(name))))
    if len(scene.figures) == 1:
        return None
    way = voice.rng.choice(("color of the shape", "color of the shape", "shape", "place of the shape"))
    return Turn("vague", voice.ask(way), there_are("shape", len(scene.figures)))


def refused(voice: Voice, scene: Scene) -> Turn:  # noqa: ARG001 (an Asker)
    return Turn("outside", outside(voice.rng), REFUSAL)


ASKERS: dict[str, Asker] = {
    "color": color,
    "background": background,
    "shape": shape,
    "count": count,
    "where": where,
    "text": text,
    "describe": description,
    "yes/no": yes_or_no,
    "absent": absent,
    "vague": vague,
    "outside": refused,
}


def follow_up(voice: Voice, scene: Scene, last: Turn) -> Turn | None:
    """A question about "it", or "and the square?" after a question about the circle."""
    rng, figure = voice.rng, last.about
    if figure is None:
        return None
    if last.kind in ("color", "where") and len(scene.figures) > 1 and rng.random() < 0.4:
        return _and(voice, scene, last.kind)
    chance = rng.random()
    if chance < 0.4:
        return Turn("color", voice.ask("color of it"), sentence(figure.color), figure)
    if chance < 0.7 or figure.place is None:
        return Turn("shape", voice.ask("shape of it"), sentence(figure.shape), figure)
    return Turn("where", voice.ask("place of it"), sentence(figure.place), figure)


def _and(voice: Voice, scene: Scene, kind: str) -> Turn | None:
    other = voice.rng.choice(scene.figures)
    value = other.color if kind == "color" else other.place
    if value is None or len(scene.called(other.shape)) > 1:
        return None
    return Turn(kind, voice.ask("and", o=other.shape), sentence(value), other)
