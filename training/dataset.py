"""Generated conversations about one or two pictures, and the batches of tokens that training reads.

A conversation asks many questions about its pictures: their 64 tokens and the pass through the vision tower
are paid once for all of them.
"""

import random
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast

from training import questions
from training.drawing import KINDS_IN_PAIRS, draw_scene, pick
from training.json_answers import json_turn
from training.model import ASSISTANT, END, IMAGE, MARKS, USER, token_id
from training.patches import GRID
from training.phrases import Wording
from training.questions import PAIR_QUESTIONS, QUESTIONS, REFUSAL, Pair, Part, Turn
from training.scene import COLOR_NAMES, Scene, describe

NO_PICTURE = "Please show me an image."
SHARE_OF_PAIRS = 0.40
SHARE_OF_LIKE_PAIRS = 0.4  # two texts, two single figures: they are the hardest to tell apart
SHARE_WITHOUT_PICTURE = 0.02
SHARE_OF_JSON = 0.1
SHARE_OF_WORDLESS = 0.03  # a picture without a word is to be described
SHARE_OF_FOLLOW_UPS = 0.6
TURNS = (7, 12)
TURNS_OF_PAIRS = (5, 9)  # the second picture's 64 tokens take the room of five questions
SHARE_OF_REPEATED_QUESTIONS = 0.4  # among repetitions
REPETITION_BYTES = (100, 1000)  # a letter of most scripts has two or three, and each is a token
ONCE = ("color", "background", "shape", "where", "text", "describe", "both", "vague", "outside")
QUESTION_WEIGHTS = {kind: question.weight for kind, question in QUESTIONS.items()}
PAIR_WEIGHTS = {"which": 2.0, "closely": 4.0, "neither": 0.05, "more": 0.2, "both": 0.12, "about one": 1.6}
KINDS = {"single": 0.17, "several": 0.30, "count": 0.21, "text": 0.31, "empty": 0.01}

NO_ANSWER = -100
POOL = 8  # batches drawn at once and sorted by length, so that little is padded
# Share of pools in which one batch has a quarter of the rows, four times as long.
SHARE_OF_REPETITIONS = 0.12


class Exchange(NamedTuple):
    """A turn with the pictures it brings."""

    turn: Turn
    pictures: tuple[Scene, ...] = ()


Conversation = list[Exchange]


def conversation(rng: random.Random) -> Conversation:
    wording, chance = Wording(rng, free=True), rng.random()
    if chance < SHARE_WITHOUT_PICTURE:
        return [Exchange(_without_picture(wording))]
    about_pair = chance < SHARE_WITHOUT_PICTURE + SHARE_OF_PAIRS
    return _about_pair(wording) if about_pair else _about_one(wording)


def repetitive_conversation(rng: random.Random) -> Conversation:
    """A long run of the same, and after it a question about the picture."""
    wording, scene = Wording(rng, free=True), draw_scene(rng)
    repeats_question = rng.random() < SHARE_OF_REPEATED_QUESTIONS
    question = f"{_question(wording, scene).question} " if repeats_question else None
    turn = Turn("outside", questions.repetition(rng, rng.randint(*REPETITION_BYTES), question), REFUSAL)
    return [Exchange(turn, (scene,)), Exchange(_question(wording, scene).typed(wording))]


def _question(wording: Wording, scene: Scene) -> Turn:
    while True:
        turn = QUESTIONS[pick(wording.rng, QUESTION_WEIGHTS)].ask(wording, scene)
        if turn is not None:
            return turn


def _repeats(turns: list[Turn], turn: Turn) -> bool:
    """Whether an earlier turn has this answer: one that can be copied teaches nothing about the picture."""
    once = turn.kind in ONCE or turn.kind.startswith("which ")
    return once and any((t.kind, t.answer) == (turn.kind, turn.answer) for t in turns)


def _without_picture(wording: Wording) -> Turn:
    if wording.rng.random() < 0.3:
        return Turn("greeting", wording.rng.choice(questions.GREETINGS), questions.GREETING)
    turn = _question(wording, draw_scene(wording.rng)).typed(wording)
    answered = Turn("outside", turn.question, REFUSAL if turn.answer == REFUSAL else NO_PICTURE)
    return json_turn(wording, None, answered) if wording.rng.random() < SHARE_OF_JSON else answered


def _about_one(wording: Wording) -> Conversation:
    rng = wording.rng
    scene = draw_scene(rng, pick(rng, KINDS))
    caption = describe(scene) if rng.random() < SHARE_OF_WORDLESS else None
    turns = [] if caption is None else [Turn("describe", "", caption)]
    for _ in range(rng.randint(*TURNS)):
        following = turns and rng.random() < SHARE_OF_FOLLOW_UPS
        about_it = questions.follow_up(wording, scene, turns[-1]) if following else None
        turn = about_it or _question(wording, scene)
        # "What shape is it?" may ask again what was just said: that, too, is keeping the thread.
        if about_it or not _repeats(turns, turn):
            turns.append(turn)
    first, *rest = (_typed(wording, scene, turn) for turn in turns)
    return [Exchange(first, (scene,)), *map(Exchange, rest)]


def _typed(wording: Wording, scene: Scene | None, turn: Turn) -> Turn:
    """As somebody types it, who now and then wants the answer in JSON."""
    in_json = turn.question and wording.rng.random() < SHARE_OF_JSON
    return (json_turn(wording, scene, turn) if in_json else turn).typed(wording)


def _about_pair(wording: Wording) -> Conversation:
    rng = wording.rng
    first, second = (pick(rng, KINDS_IN_PAIRS) for _ in range(2))
    if rng.random() < SHARE_OF_LIKE_PAIRS:
        second = first
    pair = draw_scene(rng, first), draw_scene(rng, second)
    if rng.random() < 0.25:
        before = Exchange(_question(wording, pair[0]).typed(wording), pair[:1])
        # The question that comes with a second picture is about that one.
        caption = describe(pair[1])
        if caption is None or rng.random() < 0.4:
            turn = _question(wording, pair[1])
        else:
            turn = Turn("describe", wording.question("next"), caption)
        following = Exchange(turn.typed(wording), pair[1:])
        return [before, following, *map(Exchange, _pair_turns(wording, pair))]
    return [Exchange(turn, () if i else pair) for i, turn in enumerate(_pair_turns(wording, pair))]


def _pair_turns(wording: Wording, pair: Pair) -> list[Turn]:
    turns: list[Turn] = []
    number, tries = wording.rng.randint(*TURNS_OF_PAIRS), 30
    while len(turns) < number and (tries := tries - 1):
        # None where the pictures are too much alike for the question that was drawn.
        turn = PAIR_QUESTIONS[pick(wording.rng, PAIR_WEIGHTS)](wording, pair)
        if turn is not None and not _repeats(turns, turn):
            turns.append(turn)
    return [_typed(wording, None, turn) for turn in turns]


def texts(conversations: int) -> Iterator[str]:
    """What the tokenizer learns from. Colours also come on their own, so that each is one token."""
    rng = random.Random("tokenizer")
    for turn in (exchange.turn for _ in range(conversations) for exchange in conversation(rng)):
        yield turn.question
        if turn.kind != "text":
            yield turn.answer
    for color in COLOR_NAMES:
        for word in (color, color.capitalize()):
            yield from [word, f" {word}"] * 20


class Row(NamedTuple):
    """A conversation in tokens; `answers` is NO_ANSWER where nothing is learnt."""

    tokens: list[int]
    answers: list[int]
    scenes: list[Scene]


class Batch(NamedTuple):
    """`tokens` and `answers` are (rows, length)."""

    tokens: torch.Tensor
    answers: torch.Tensor
    scenes: list[Scene]


class Dataset:
    """The template of `chat_template.jinja`, written in tokens; a test holds the two together."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        special = (USER, ASSISTANT, END, IMAGE, *MARKS)
        self._special = {token: token_id(tokenizer, token) for token in special}
        self._encode = lru_cache(60_000)(partial(tokenizer.encode, add_special_tokens=False))

    def row(self, conversation: Conversation) -> Row:
        tokens: list[int] = []
        answers: list[int] = []
        scenes: list[Scene] = []
        user, assistant, end, image = (self._special[t] for t in (USER, ASSISTANT, END, IMAGE))
        for turn, pictures in conversation:
            tokens.append(user)
            for scene in pictures:
                tokens += [self._special[MARKS[len(scenes)]], *[image] * GRID**2]
                scenes.append(scene)
            tokens += [*self._encode(turn.question), end, assistant]
            answers += [NO_ANSWER] * (len(tokens) - len(answers))
            for part in turn.parts or (Part(turn.answer, learnt=True),):
                ids = self._encode(part.text)
                tokens += ids
                answers += ids if part.learnt else [NO_ANSWER] * len(ids)
            tokens.append(end)
            answers.append(NO_ANSWER if turn.parts else end)
        return Row(tokens, answers, scenes)

    def pool(self, rng: random.Random, size: int) -> list[Batch]:
        repetitive = rng.random() < SHARE_OF_REPETITIONS
        long = [repetitive_conversation(rng) for _ in range(size // 4)] if repetitive else []
        rows = [self.row(conversation(rng)) for _ in range((POOL - bool(long)) * size)]
        rows.sort(key=lambda row: len(row.tokens) + 6 * rng.random())
        batches = [_batch(rows[i : i + size]) for i in range(0, len(rows), size)]
        if long:
            batches.append(_batch([self.row(one) for one in long]))
        rng.shuffle(batches)
        return batches


def _batch(rows: list[Row]) -> Batch:
    tokens, answers = ([torch.tensor(row[column]) for row in rows] for column in (0, 1))
    return Batch(
        pad_sequence(tokens, batch_first=True),
        pad_sequence(answers, batch_first=True, padding_value=NO_ANSWER),
        [scene for row in rows for scene in row.scenes],
    )
