"""Conversations to learn from: several questions about the same one or two pictures.

Many questions a picture, because its 64 tokens and the pass through the eye are paid once for all of them.
"""

import random
from dataclasses import dataclass

from training.forms import formed
from training.outside import GREETING, GREETINGS, NO_PICTURE, REFUSAL, over_and_over
from training.painter import paint
from training.pairs import PAIR_ASKERS, Pair
from training.questions import ASKERS, Turn, follow_up
from training.scene import Scene
from training.truth import describe
from training.voice import Voice

SHARE_OF_PAIRS = 0.40
SHARE_OF_LIKE_PAIRS = 0.4  # two texts, two single figures: they are the hardest to tell apart
SHARE_OF_NONE = 0.02
SHARE_OF_FORMS = 0.1
SHARE_OF_WORDLESS = 0.03  # a picture without a word is to be described
FOLLOWED = 0.6
TURNS = (7, 12)
TURNS_OF_TWO = (5, 9)  # the second picture's 64 tokens take the room of five questions
SHARE_OF_AGAIN = 0.4  # of those are one question asked over and over
STUCK_BYTES = (100, 1000)  # a letter of most scripts has two or three, and each is a token
ONCE = ("color", "background", "shape", "where", "text", "describe", "both", "vague", "outside")
ONE = {
    "color": 1.0,
    "background": 0.5,
    "shape": 1.0,
    "count": 2.2,
    "where": 2.6,
    "text": 4.0,
    "describe": 1.2,
    "yes/no": 0.8,
    "absent": 0.7,
    "vague": 0.7,
    "outside": 1.0,
}
TWO = {"which": 2.0, "closely": 4.0, "neither": 0.05, "more": 0.2, "both": 0.12, "about one": 1.6}
KINDS = {"single": 0.17, "several": 0.30, "count": 0.21, "text": 0.31, "empty": 0.01}
KINDS_IN_PAIRS = {"single": 0.36, "several": 0.25, "count": 0.17, "text": 0.22}


@dataclass(frozen=True)
class Exchange:
    """A turn with the pictures it brings."""

    turn: Turn
    pictures: tuple[Scene, ...] = ()


Conversation = list[Exchange]


def pick(rng: random.Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def conversation(rng: random.Random) -> Conversation:
    voice, chance = Voice(rng, freely=True), rng.random()
    if chance < SHARE_OF_NONE:
        return [_without_picture(voice)]
    return _of_two(voice) if chance < SHARE_OF_NONE + SHARE_OF_PAIRS else _of_one(voice)


def stuck(rng: random.Random) -> Conversation:
    """A long run of the same, and after it a question about the picture."""
    voice, scene = Voice(rng, freely=True), paint(rng)
    again = f"{ask(voice, scene).question} " if rng.random() < SHARE_OF_AGAIN else None
    turn = Turn("outside", over_and_over(rng, rng.randint(*STUCK_BYTES), again), REFUSAL)
    return [Exchange(turn, (scene,)), Exchange(ask(voice, scene).typed(voice))]


def ask(voice: Voice, scene: Scene) -> Turn:
    while True:
        turn = ASKERS[pick(voice.rng, ONE)](voice, scene)
        if turn is not None:
            return turn


def ask_two(voice: Voice, pair: Pair) -> Turn | None:
    """None where the pictures are too much alike for the question that was drawn."""
    return PAIR_ASKERS[pick(voice.rng, TWO)](voice, pair)


def _repeats(turns: list[Turn], turn: Turn) -> bool:
    """Whether an earlier turn has this answer: one that can be copied teaches nothing about the picture."""
    once = turn.kind in ONCE or turn.kind.startswith("which ")
    return once and any((t.kind, t.answer) == (turn.kind, turn.answer) for t in turns)


def _without_picture(voice: Voice) -> Exchange:
    if voice.rng.random() < 0.3:
        return Exchange(Turn("greeting", voice.rng.choice(GREETINGS), GREETING))
    turn = ask(voice, paint(voice.rng)).typed(voice)
    told = Turn("outside", turn.question, REFUSAL if turn.answer == REFUSAL else NO_PICTURE)
    return Exchange(formed(voice, None, told) if voice.rng.random() < SHARE_OF_FORMS else told)


def _of_one(voice: Voice) -> Conversation:
    scene = paint(voice.rng, pick(voice.rng, KINDS))
    told = describe(scene) if voice.rng.random() < SHARE_OF_WORDLESS else None
    turns = [] if told is None else [Turn("describe", "", told)]
    for _ in range(voice.rng.randint(*TURNS)):
        followed = follow_up(voice, scene, turns[-1]) if turns and voice.rng.random() < FOLLOWED else None
        turn = followed or ask(voice, scene)
        # "What shape is it?" may ask again what was just said: that, too, is keeping the thread.
        if followed or not _repeats(turns, turn):
            turns.append(turn)
    first, *rest = (_put(voice, scene, turn) for turn in turns)
    return [Exchange(first, (scene,)), *map(Exchange, rest)]


def _put(voice: Voice, scene: Scene | None, turn: Turn) -> Turn:
    """As somebody types it, who now and then wants the answer in a form."""
    in_a_form = turn.question and voice.rng.random() < SHARE_OF_FORMS
    return (formed(voice, scene, turn) if in_a_form else turn).typed(voice)


def _of_two(voice: Voice) -> Conversation:
    first, second = (pick(voice.rng, KINDS_IN_PAIRS) for _ in range(2))
    if voice.rng.random() < SHARE_OF_LIKE_PAIRS:
        second = first
    pair = paint(voice.rng, first), paint(voice.rng, second)
    if voice.rng.random() < 0.25:
        begun = [
            Exchange(ask(voice, pair[0]).typed(voice), pair[:1]),
            Exchange(_about_the_next(voice, pair[1]), pair[1:]),
        ]
        return begun + [Exchange(turn) for turn in _pair_turns(voice, pair)]
    turns = _pair_turns(voice, pair)
    return [Exchange(turn, () if i else pair) for i, turn in enumerate(turns)]


def _about_the_next(voice: Voice, scene: Scene) -> Turn:
    """The question that comes with a second picture is about that one."""
    told = describe(scene)
    if told is None or voice.rng.random() < 0.4:
        return ask(voice, scene).typed(voice)
    return Turn("describe", voice.ask("next"), told).typed(voice)


def _pair_turns(voice: Voice, pair: Pair) -> list[Turn]:
    turns: list[Turn] = []
    wanted, tries = voice.rng.randint(*TURNS_OF_TWO), 30
    while len(turns) < wanted and (tries := tries - 1):
        turn = ask_two(voice, pair)
        if turn is not None and not _repeats(turns, turn):
            turns.append(turn)
    return [_put(voice, None, turn) for turn in turns]
