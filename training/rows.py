"""Conversations as the rows of a batch: tokens, and which of them are answers."""

import functools
import random
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerFast

from training.conversation import Conversation, conversation, stuck
from training.pixels import GRID
from training.questions import Part
from training.scene import Scene
from training.tokens import ASSISTANT, END, IMAGE, MARKS, USER, token_id

NO_ANSWER = -100
POOL = 8  # batches drawn at once and sorted by length, so that little is padded
# Share of pools in which one batch has a quarter of the rows, four times as long.
SHARE_OF_STUCK = 0.12


class Row(NamedTuple):
    tokens: list[int]
    answers: list[int]
    scenes: list[Scene]


class Batch(NamedTuple):
    tokens: torch.Tensor
    answers: torch.Tensor
    scenes: list[Scene]


class Rows:
    """The template of `chat_template.jinja`, written in tokens; a test holds the two together."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        special = (USER, ASSISTANT, END, IMAGE, *MARKS)
        self._special = {token: token_id(tokenizer, token) for token in special}
        self._encode = functools.lru_cache(60_000)(
            lambda text: tokenizer.encode(text, add_special_tokens=False)
        )

    def row(self, said: Conversation) -> Row:
        tokens: list[int] = []
        answers: list[int] = []
        scenes: list[Scene] = []
        user, assistant, end, image = (self._special[t] for t in (USER, ASSISTANT, END, IMAGE))
        for turn, pictures in ((e.turn, e.pictures) for e in said):
            tokens.append(user)
            for scene in pictures:
                tokens += [self._special[MARKS[len(scenes)]], *[image] * GRID**2]
                scenes.append(scene)
            tokens += [*self._encode(turn.question), end, assistant]
            answers += [NO_ANSWER] * (len(tokens) - len(answers))
            for part in turn.form or (Part(turn.answer, learnt=True),):
                ids = self._encode(part.text)
                tokens += ids
                answers += ids if part.learnt else [NO_ANSWER] * len(ids)
            tokens.append(end)
            answers.append(NO_ANSWER if turn.form else end)
        return Row(tokens, answers, scenes)

    def pool(self, rng: random.Random, size: int) -> list[Batch]:
        long = [stuck(rng) for _ in range(size // 4)] if rng.random() < SHARE_OF_STUCK else []
        rows = [self.row(conversation(rng)) for _ in range((POOL - bool(long)) * size)]
        rows.sort(key=lambda row: len(row.tokens) + 6 * rng.random())
        batches = [batch(rows[i : i + size]) for i in range(0, len(rows), size)]
        if long:
            batches.append(batch([self.row(said) for said in long]))
        rng.shuffle(batches)
        return batches


def batch(rows: list[Row]) -> Batch:
    length = max(len(row.tokens) for row in rows)
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    answers = torch.full((len(rows), length), NO_ANSWER)
    for i, row in enumerate(rows):
        tokens[i, : len(row.tokens)] = torch.tensor(row.tokens)
        answers[i, : len(row.answers)] = torch.tensor(row.answers)
    return Batch(tokens, answers, [scene for row in rows for scene in row.scenes])
