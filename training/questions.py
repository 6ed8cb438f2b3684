"""Questions about one or two pictures, each with its true answer; None where the pictures do not allow one.

Questions about nothing in the model's world, and texts that are no questions, all get the same refusal.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from training.phrases import LISTS, Wording
from training.scene import COLOR_NAMES, SHAPES, Figure, Scene, describe, sentence, there_are, there_is_no

REFUSAL = "I only know simple shapes, colors, counts and short texts."
GREETING = "Hello! Ask me about a picture."
GREETINGS: list[str] = LISTS["off_topic"]["greetings"]
NOUNS: list[str] = LISTS["off_topic"]["nouns"]
PLACES: list[str] = LISTS["off_topic"]["places"]
KNOWN: list[str] = LISTS["off_topic"]["known"]
UNSEEN: list[str] = LISTS["off_topic"]["unseen"]

TYPED = "abcdefghijklmnopqrstuvwxyz      ?!.,0123456789"
SCRIPTS = (
    (0xA1, 0x24F), (0x391, 0x3C9), (0x400, 0x45F), (0x5D0, 0x5EA), (0x621, 0x64A), (0x905, 0x939),
    (0xE01, 0xE2E), (0x3041, 0x3096), (0x4E00, 0x4F00), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0x1F300, 0x1F64F),
)  # fmt: skip
LEAST_REPEATS = 8  # of a question: so often that nobody can mean it
ORDER = ("first", "second")
ABOUT_ONE = {
    "color": 1.2,
    "shape": 1.2,
    "count": 1.5,
    "where": 0.6,
    "text": 2.0,
    "describe": 1.2,
    "background": 0.7,
}
_PICTURE = re.compile(r"\b(the|this) (image|picture|photo)\b")

Pair = tuple[Scene, Scene]


class Part(NamedTuple):
    """A piece of an answer, which the model learns or is given."""

    text: str
    learnt: bool


@dataclass(frozen=True)
class Turn:
    """`about` is what "it" means in the next question; `parts` are the answer's, if some are given."""

    kind: str
    question: str
    answer: str
    about: Figure | None = None
    parts: tuple[Part, ...] = ()

    def typed(self, wording: Wording) -> "Turn":
        # Only its nouns tell that a question is off topic, so they stay.
        question = self.question if self.answer == REFUSAL else wording.loose(self.question)
        return replace(self, question=wording.typed(question))


def color(wording: Wording, scene: Scene) -> Turn | None:
    if scene.text:
        way = "color of the text" if wording.rng.random() < 0.8 else "color of it"
        return Turn("color", wording.question(way), sentence(scene.ink))
    if not scene.figures:
        return None
    figure = wording.rng.choice(scene.figures)
    answer, alike = sentence(figure.color), scene.named(figure.shape)
    if len(scene.figures) == 1 and wording.rng.random() < 0.5:
        return Turn("color", wording.question("color of it", "color of the shape"), answer, figure)
    if len(alike) == 1:
        return Turn("color", wording.question("color of", s=figure.shape), answer, figure)
    if len({other.color for other in alike}) == 1:
        return Turn("color", wording.question("color of those", s=figure.shape), answer)
    return None


def background(wording: Wording, scene: Scene) -> Turn:
    return Turn("background", wording.question("background"), sentence(scene.background))


def shape(wording: Wording, scene: Scene) -> Turn | None:
    if not scene.figures:
        return None
    figure = wording.rng.choice(scene.figures)
    answer = sentence(figure.shape)
    if len(scene.figures) == 1 and wording.rng.random() < 0.5:
        return Turn("shape", wording.question("shape of it", "shape"), answer, figure)
    if len(scene.named(figure.color)) > 1:
        return None
    return Turn("shape", wording.question("shape called", c=figure.color), answer, figure)


def count(wording: Wording, scene: Scene) -> Turn | None:
    rng = wording.rng
    if scene.text and rng.random() < 0.7:
        return None
    chance = rng.random()
    if chance < 0.55 or not scene.figures:
        return Turn("count", wording.question("count"), str(len(scene.figures)))
    figure = rng.choice(scene.figures)
    if chance < 0.85:
        name = noun = rng.choice(SHAPES) if rng.random() < 0.3 else figure.shape
    else:
        name, noun = figure.color, f"{figure.color} shape"
    return Turn("count", wording.question("count called", o=noun), str(len(scene.named(name))))


def where(wording: Wording, scene: Scene) -> Turn | None:
    figure = wording.rng.choice(scene.figures) if scene.figures else None
    if figure is None or figure.place is None:
        return None
    answer = sentence(figure.place)
    if len(scene.figures) == 1 and wording.rng.random() < 0.4:
        return Turn("where", wording.question("place of it", "place of the shape"), answer, figure)
    name = figure.shape if wording.rng.random() < 0.6 else figure.name
    if len(scene.named(name)) > 1:
        return None
    return Turn("where", wording.question("place of", o=name), answer, figure)


def text(wording: Wording, scene: Scene) -> Turn | None:
    if scene.text:
        return Turn("text", wording.question("text"), scene.text)
    if wording.rng.random() >= 0.1:
        return None
    return Turn("absent", wording.question("text"), there_is_no("text"))


def description(wording: Wording, scene: Scene) -> Turn | None:
    answer = describe(scene)
    about = scene.figures[0] if len(scene.figures) == 1 else None
    return None if answer is None else Turn("describe", wording.question("describe"), answer, about)


def yes_or_no(wording: Wording, scene: Scene) -> Turn | None:
    if wording.rng.random() < 0.12:
        return Turn("yes/no", wording.question("is there text"), "Yes" if scene.text else "No")
    if scene.figures and wording.rng.random() < 0.5:
        figure = wording.rng.choice(scene.figures)
        name = figure.shape if wording.rng.random() < 0.4 else figure.name
        about = figure if len(scene.named(name)) == 1 else None
        return Turn("yes/no", wording.question("is there", o=name), "Yes", about)
    absentee = _absent_name(wording, scene)
    return None if absentee is None else Turn("yes/no", wording.question("is there", o=absentee), "No")


def _absent_name(wording: Wording, scene: Scene) -> str | None:
    """A name that fits no figure here, but likely half of one: the wrong colour or the wrong shape."""
    rng = wording.rng
    shape, color = rng.choice(SHAPES), rng.choice(COLOR_NAMES)
    if scene.figures and rng.random() < 0.7:
        figure = rng.choice(scene.figures)
        shape, color = (figure.shape, color) if rng.random() < 0.5 else (shape, figure.color)
    name = shape if rng.random() < 0.4 else f"{color} {shape}"
    return None if scene.shows(name) else name


def absent(wording: Wording, scene: Scene) -> Turn | None:
    """A question that presupposes something that is not there."""
    name = _absent_name(wording, scene)
    if name is None:
        return None
    color, _, shape = name.rpartition(" ")
    if not color and wording.rng.random() < 0.6:
        return Turn("absent", wording.question("color of", s=shape), there_is_no(name))
    if color and wording.rng.random() < 0.5 and color != scene.background and not scene.shows(color):
        return Turn("absent", wording.question("shape called", c=color), there_is_no(f"{color} shape"))
    return Turn("absent", wording.question("place of", o=name), there_is_no(name))


def vague(wording: Wording, scene: Scene) -> Turn | None:
    """A question about "the shape" where there is not one, or about "the square" where there are two."""
    repeated = [f.shape for f in scene.figures if len(scene.named(f.shape)) > 1]
    if repeated and wording.rng.random() < 0.5:
        name = wording.rng.choice(repeated)
        alike = scene.named(name)
        way = "color of" if len({f.color for f in alike}) > 1 else "place of"
        return Turn("vague", wording.question(way, s=name, o=name), there_are(name, len(alike)))
    if len(scene.figures) == 1:
        return None
    question = wording.question("color of the shape", "color of the shape", "shape", "place of the shape")
    return Turn("vague", question, there_are("shape", len(scene.figures)))


def off_topic(rng: random.Random, unseen: bool = False) -> str:
    if unseen:
        return _question(rng, UNSEEN)
    return _noise(rng) if rng.random() < 0.15 else _question(rng, KNOWN)


def _question(rng: random.Random, templates: list[str]) -> str:
    (n, p, q), (i, j) = (rng.choice(NOUNS), *rng.sample(PLACES, 2)), (rng.randint(1, 99), rng.randint(1, 99))
    return rng.choice(templates).format(n=n, p=p, q=q, i=i, j=j)


def repetition(rng: random.Random, size: int, question: str | None = None) -> str:
    """`size` bytes of a stuck key or a bad paste, or a question over and over.

    Untrained on these, the model's answer would never end.
    """
    piece, least = question, LEAST_REPEATS
    if piece is None:
        foreign = _foreign(rng, rng.choice((1, 1, 1, 2, 3)))
        word = rng.choice((rng.choice(NOUNS), rng.choice(SHAPES), rng.choice(COLOR_NAMES))) + " "
        piece, least = rng.choice((rng.choice(TYPED).upper(), rng.choice(TYPED), word, foreign, foreign)), 1
    return (piece * max(least, size // len(piece.encode()))).strip() or "?"


def _foreign(rng: random.Random, length: int) -> str:
    script = rng.choice(SCRIPTS)
    return "".join(chr(rng.randint(*script)) for _ in range(length))


def _noise(rng: random.Random) -> str:
    """Slips of the keyboard, other scripts, pasted documents: any text gets the refusal, and an end."""
    chance = rng.random()
    if chance < 0.4:
        return "".join(rng.choice(TYPED) for _ in range(rng.randint(3, 24))).strip() or "?"
    if chance < 0.6:
        return " ".join(rng.sample(NOUNS, rng.randint(1, 5)))
    if chance < 0.7:
        return " ".join(_question(rng, KNOWN) for _ in range(rng.randint(2, 6)))
    if chance < 0.8:
        return repetition(rng, rng.randint(20, 160))
    return " ".join(_foreign(rng, rng.randint(1, 8)) for _ in range(rng.randint(1, 4)))


def refusal(wording: Wording, scene: Scene) -> Turn:  # noqa: ARG001 (a question about any scene)
    return Turn("outside", off_topic(wording.rng), REFUSAL)


class Question(NamedTuple):
    """`weight` is how often training asks it, compared with the others."""

    ask: Callable[[Wording, Scene], Turn | None]
    weight: float


QUESTIONS = {
    "color": Question(color, 1.0),
    "background": Question(background, 0.5),
    "shape": Question(shape, 1.0),
    "count": Question(count, 2.2),
    "where": Question(where, 2.6),
    "text": Question(text, 4.0),
    "describe": Question(description, 1.2),
    "yes/no": Question(yes_or_no, 0.8),
    "absent": Question(absent, 0.7),
    "vague": Question(vague, 0.7),
    "outside": Question(refusal, 1.0),
}


def follow_up(wording: Wording, scene: Scene, last: Turn) -> Turn | None:
    """A question about "it", or "and the square?" after a question about the circle."""
    rng, figure = wording.rng, last.about
    if figure is None:
        return None
    if last.kind in ("color", "where") and len(scene.figures) > 1 and rng.random() < 0.4:
        other = rng.choice(scene.figures)
        value = other.color if last.kind == "color" else other.place
        if value is None or len(scene.named(other.shape)) > 1:
            return None
        return Turn(last.kind, wording.question("and", o=other.shape), sentence(value), other)
    chance = rng.random()
    if chance < 0.4:
        return Turn("color", wording.question("color of it"), sentence(figure.color), figure)
    if chance < 0.7 or figure.place is None:
        return Turn("shape", wording.question("shape of it"), sentence(figure.shape), figure)
    return Turn("where", wording.question("place of it"), sentence(figure.place), figure)


def which(wording: Wording, pair: Pair) -> Turn | None:
    """What only one of the two pictures has."""
    k = wording.rng.randrange(2)
    scene, other = pair[k], pair[1 - k]
    if scene.text:
        name = f"text {scene.text}"
    elif scene.figures:
        figure = wording.rng.choice(scene.figures)
        name = figure.shape if wording.rng.random() < 0.35 else figure.name
    else:
        return None
    return None if other.shows(name) else _which(wording, name, k)


def which_alike(wording: Wording, pair: Pair) -> Turn | None:
    """`which` where the other picture matches by half: a figure of this colour or shape, another text.

    With unlike pictures alone a model learns to look for any circle when the red one is asked for.
    """
    k = wording.rng.randrange(2)
    scene, other = pair[k], pair[1 - k]
    names = [f.name for f in scene.figures if other.named(f.color) or other.named(f.shape)]
    if scene.text and other.text:
        names = [f"text {scene.text}"]
    names = [name for name in names if not other.shows(name)]
    return _which(wording, wording.rng.choice(names), k) if names else None


def _which(wording: Wording, name: str, k: int) -> Turn:
    return Turn(f"which {name}", wording.question("which", o=name), f"The {ORDER[k]}")


def neither(wording: Wording, pair: Pair) -> Turn | None:
    name = wording.rng.choice(SHAPES)
    if any(scene.shows(name) for scene in pair):
        return None
    return Turn("absent", wording.question("which", o=name), there_is_no(name))


def more(wording: Wording, pair: Pair) -> Turn | None:
    first, second = (len(scene.figures) for scene in pair)
    if first == second:
        return None
    return Turn("which has more", wording.question("more"), f"The {ORDER[second > first]}")


def both(wording: Wording, pair: Pair) -> Turn | None:
    first, second = (describe(scene) for scene in pair)
    if first is None or second is None:
        return None
    answer = f"First, {first[0].lower()}{first[1:]} Second, {second[0].lower()}{second[1:]}"
    return Turn("both", wording.question("both"), answer)


def about_one(wording: Wording, pair: Pair) -> Turn | None:
    k = wording.rng.randrange(2)
    kind = wording.rng.choices(list(ABOUT_ONE), list(ABOUT_ONE.values()))[0]
    turn = QUESTIONS[kind].ask(wording, pair[k])
    if turn is None or turn.kind != kind:
        return None
    return Turn("about one", _of_the(wording, turn.question, ORDER[k]), turn.answer, turn.about)


def _of_the(wording: Wording, question: str, number: str) -> str:
    """ "What color is it?" -> "What color is it in the second image?" """
    numbered, times = _PICTURE.subn(rf"the {number} \2", question)
    if times:
        return numbered
    image = wording.rng.choice(("image", "picture"))
    if wording.rng.random() < 0.25:
        return f"In the {number} {image}, {question[0].lower()}{question[1:]}"
    stem, end = (question[:-1], question[-1]) if question[-1] in "?." else (question, "")
    return f"{stem} in the {number} {image}{end}"


PAIR_QUESTIONS: dict[str, Callable[[Wording, Pair], Turn | None]] = {
    "which": which,
    "closely": which_alike,
    "neither": neither,
    "more": more,
    "both": both,
    "about one": about_one,
}
