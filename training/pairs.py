"""Questions about two pictures: which one, both, or about one of them by its number."""

import re

from training.questions import ASKERS, Turn
from training.scene import Scene
from training.truth import describe, there_is_no
from training.voice import Voice

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
_NAMED = re.compile(r"\b(the|this) (image|picture|photo)\b")

Pair = tuple[Scene, Scene]


def which(voice: Voice, pair: Pair) -> Turn | None:
    """What only one of the pictures has."""
    k = voice.rng.randrange(2)
    name = _something_in(voice, pair[k])
    if name is None or pair[1 - k].shows(name):
        return None
    return Turn(f"which {name}", voice.ask("which", o=name), f"The {ORDER[k]}")


def closely(voice: Voice, pair: Pair) -> Turn | None:
    """`which` where the other picture matches by half: a figure of this colour or shape, another text.

    With unlike pictures alone a model learns to look for any circle when the red one is asked for.
    """
    k = voice.rng.randrange(2)
    own, other = pair[k], pair[1 - k]
    names = [f.name for f in own.figures if other.called(f.color) or other.called(f.shape)]
    if own.text and other.text:
        names = [f"text {own.text}"]
    names = [name for name in names if not other.shows(name)]
    if not names:
        return None
    name = voice.rng.choice(names)
    return Turn(f"which {name}", voice.ask("which", o=name), f"The {ORDER[k]}")


def neither(voice: Voice, pair: Pair) -> Turn | None:
    name = voice.rng.choice(("circle", "square", "triangle", "star"))
    if any(scene.shows(name) for scene in pair):
        return None
    return Turn("absent", voice.ask("which", o=name), there_is_no(name))


def more(voice: Voice, pair: Pair) -> Turn | None:
    first, second = (len(scene.figures) for scene in pair)
    if first == second:
        return None
    return Turn("which has more", voice.ask("more"), f"The {ORDER[second > first]}")


def both(voice: Voice, pair: Pair) -> Turn | None:
    told = [describe(scene) for scene in pair]
    if told[0] is None or told[1] is None:
        return None
    first, second = (one[0].lower() + one[1:] for one in (told[0], told[1]))
    return Turn("both", voice.ask("both"), f"First, {first} Second, {second}")


def about_one(voice: Voice, pair: Pair) -> Turn | None:
    k = voice.rng.randrange(2)
    kind = voice.rng.choices(list(ABOUT_ONE), list(ABOUT_ONE.values()))[0]
    turn = ASKERS[kind](voice, pair[k])
    if turn is None or turn.kind != kind:
        return None
    return Turn("about one", _of_the(voice, turn.question, ORDER[k]), turn.answer, turn.about)


def _of_the(voice: Voice, question: str, number: str) -> str:
    """ "What color is it?" -> "What color is it in the second image?" """
    named, times = _NAMED.subn(rf"the {number} \2", question)
    if times:
        return named
    image = voice.rng.choice(("image", "picture"))
    if voice.rng.random() < 0.25:
        return f"In the {number} {image}, {question[0].lower()}{question[1:]}"
    stem, end = (question[:-1], question[-1]) if question[-1] in "?." else (question, "")
    return f"{stem} in the {number} {image}{end}"


def _something_in(voice: Voice, scene: Scene) -> str | None:
    if scene.text:
        return f"text {scene.text}"
    if not scene.figures:
        return None
    figure = voice.rng.choice(scene.figures)
    return figure.shape if voice.rng.random() < 0.35 else figure.name


PAIR_ASKERS = {
    "which": which,
    "closely": closely,
    "neither": neither,
    "more": more,
    "both": both,
    "about one": about_one,
}
