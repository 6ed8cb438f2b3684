"""Chats of several turns, questions that begin alike, and faults to plant into what is reused of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch

from tests.support.families.asking import BLUE, RED, WIDE, Conversation, Subject
from worker.engines.base import Finish
from worker.engines.continuous import prompt_content, reuse_cache
from worker.engines.continuous.kv_cache import RecurrentState
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.prompt_content import PromptContent

TURNS: tuple[tuple[Any, ...], ...] = (
    (RED, "What is it that we see?"),
    ("Are you sure?",),
    ("And now this one", WIDE),
    ("Compare them.",),
    (BLUE, "And the last?"),
)
ALBUM: tuple[tuple[Any, ...], ...] = (
    (RED, WIDE, "What are these?"),
    (BLUE, "And this?"),
    (WIDE, BLUE, "And those?"),
)
"""Turns with several pictures, next to each other too."""
OTHERS = (
    Conversation("", ((RED, "What is the colour of it?"),)),
    Conversation("", ((BLUE, "What is it that we see?"),)),
    Conversation("", ((RED, BLUE, "What is it that we see?"),)),
    Conversation("", ((BLUE, RED, "What is it that we see?"),)),
    Conversation("", ((RED, BLUE, "What is it that we see?"),)),
    Conversation("", (("Tell me what we see there:", RED),)),
)
BARE = tuple(
    Conversation("", ((*shown, text),))
    for shown in ((RED,), (RED, WIDE))
    for text in ("What", "What is", "What")
)
"""For a model without a template, whose prompts are one text."""


@dataclass(frozen=True)
class Answered:
    """The answer to a prompt, and the answer that it gets alone."""

    conversation: Conversation
    prompt: tuple[int, ...]
    finish: Finish
    alone: Finish

    @property
    def changed(self) -> bool:
        return self.finish.ids != self.alone.ids


def answered(subject: Subject, scope: str, **parameters: Any) -> list[Answered]:
    """Ask chats and more questions, one after the other; a chat goes on with the answers it gets alone."""
    engine, answers = subject.engine("continuous", rows=4), list[Answered]()
    for conversation, alone in _alone(subject, **parameters):
        row = subject.row(engine, conversation, scope, **parameters)
        ids = row.prompt.inputs.inputs["input_ids"][0].tolist()
        answers.append(Answered(conversation, tuple(ids), engine.generate(row), alone))
    return answers


def continued(answers: list[Answered]) -> list[tuple[Answered, Answered]]:
    """Two turns each of a chat, where the later one's prompt begins with all of the earlier one's."""
    return [
        (before, later)
        for before, later in pairwise(answers)
        if len(later.conversation.turns) > 1 and later.prompt[: len(before.prompt)] == before.prompt
    ]


@cache
def _alone(subject: Subject, **parameters: Any) -> list[tuple[Conversation, Finish]]:
    engine, answers = subject.engine(), list[tuple[Conversation, Finish]]()

    def ask(conversation: Conversation) -> str:
        finish = engine.generate(subject.row(engine, conversation, **parameters))
        answers.append((conversation, finish))
        return finish.text

    for chat in () if subject.family.single else (TURNS, ALBUM):
        turns: tuple[tuple[Any, ...], ...] = ()
        for turn in chat:
            turns = (*turns, turn)
            turns = (*turns, (ask(Conversation("", turns)) or "-",))
    for conversation in BARE if subject.family.single else OTHERS:
        ask(conversation)
    return answers


Plant = Callable[[pytest.MonkeyPatch], None]


def positions_begin_anew(patch: pytest.MonkeyPatch) -> None:
    """Fault: positions after the reused part start at 0, as if nothing were reused."""
    _bent(patch, lambda positions, start: positions - start)


def positions_count_tokens(patch: pytest.MonkeyPatch) -> None:
    """Fault: positions ignore the height and width of pictures in the reused part."""
    _bent(
        patch,
        lambda positions, _: (
            torch.arange(positions.shape[-1], device=positions.device).expand_as(positions).clone()
        ),
    )


def columns_are_another_tokens(patch: pytest.MonkeyPatch) -> None:
    columns = reuse_cache._columns
    patch.setattr(reuse_cache, "_columns", lambda *of: tuple((k.roll(1, 2), v) for k, v in columns(*of)))


def states_begin_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RecurrentState, "fill", lambda *_: None)


def nothing_is_found_again(patch: pytest.MonkeyPatch) -> None:
    """So that nothing of what is kept was ever tried."""
    patch.setattr(reuse_cache.PrefixTree, "find", lambda *_: None)


def all_pictures_are_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(prompt_content, "_digest", lambda *_: "the same")


def new_pictures_are_mirrored(patch: pytest.MonkeyPatch) -> None:
    """Those behind a beginning that is known."""
    unknown = PromptContent.unknown

    def mirrored(self: PromptContent, *asked: Any) -> tuple[dict[str, torch.Tensor], int]:
        inputs, skipped = unknown(self, *asked)
        return {name: value.flip(-1) for name, value in inputs.items()}, skipped

    patch.setattr(PromptContent, "unknown", mirrored)


def _bent(patch: pytest.MonkeyPatch, bend: Callable[[torch.Tensor, int], torch.Tensor]) -> None:
    begin = Prefill.__init__

    def bent(self: Prefill, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        if self.done:
            self.given["position_ids"] = bend(self.given["position_ids"], self.done)

    patch.setattr(Prefill, "__init__", bent)
