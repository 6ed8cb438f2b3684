"""How an answer is written, and how the thoughts at its beginning are taken from it.

Their marks are those that a model's chat template writes, or that its entry says.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.tool_calls.call import after_blanks
from shared.tool_calls.syntax import Syntax, overlap, read_syntax

# `<think>`, `[THINK]`, `<seed:think>` and their kin, each with its slash at the end of a thought.
_PAIR = re.compile(r"([<\[◁])((?:\w+:)?think(?:ing)?)([>\]▷])", re.IGNORECASE)
_GEMMA = ("<|channel>thought", "<channel|>")


class Marks(NamedTuple):
    """What stands around the thoughts of an answer; no `opening` where the prompt ends with it."""

    opening: str
    closing: str


class Thought(NamedTuple):
    """What a model thinks before it answers."""

    text: str


class AnswerSyntax(NamedTuple):
    """How an answer is written: its calls and its thoughts, which its readers may not want to be `told`.

    Outside of this package it is a text, as `str` makes it; that of calls alone is the name of their form.
    """

    calls: Syntax | None = None
    thoughts: Marks | None = None
    told: bool = True

    def __str__(self) -> str:
        marks = (*self.thoughts, *(() if self.told else ("untold",))) if self.thoughts else ()
        return " ".join((self.calls or "", *marks))


def read_answer_syntax(text: str | None) -> AnswerSyntax:
    """What a worker told, without a form of calls that only a newer release knows."""
    name, *marks = (text or "").split(" ")
    return AnswerSyntax(read_syntax(name) or None, Marks(*marks[:2]) if marks else None, not marks[2:])


def syntax_in(data: dict[str, Any]) -> str | None:
    """How the answer is written whose `text` event has this data."""
    return data.get("written") or data.get("syntax")


def marks_of(template: str, reasoning: Sequence[str] | None = None) -> Marks | None:
    """The marks that a model's entry names, else those that its chat template writes."""
    if reasoning is not None:
        return Marks(*reasoning) if reasoning else None
    if all(mark in template for mark in _GEMMA):
        return Marks(*_GEMMA)
    pairs = (Marks("".join(found), "{}/{}{}".format(*found)) for found in _PAIR.findall(template))
    return next((pair for pair in pairs if pair.closing in template), None)


class ThoughtReader:
    """Reads one answer. Blanks around a thought are part neither of it nor of the words behind it."""

    def __init__(self, marks: Marks) -> None:
        self.begun = not marks.opening
        self.ended = False
        self.over = False
        """Whether all that comes is words and calls."""
        self._marks = marks
        self._left = ""
        self._thought = False

    def feed(self, text: str, *, last: bool = False) -> tuple[str, str]:
        """What the next piece makes certain: of the thought, and of what stands behind it."""
        if self.over:
            return "", text
        self._left += text
        if not self.begun:
            self._begin(last=last)
        thought = self._think(last=last) if self.begun and not self.ended else ""
        if self.ended:
            self._left = self._left.lstrip()
        self.over = self.over or (self.ended and bool(self._left))
        if not self.over:
            return thought, ""
        behind, self._left = self._left, ""
        return thought, behind

    def _begin(self, *, last: bool) -> None:
        at, opening = after_blanks(self._left, 0), self._marks.opening
        if self._left.startswith(opening, at):
            self.begun, self._left = True, self._left[at + len(opening) :]
        else:
            self.over = last or not opening.startswith(self._left[at:])

    def _think(self, *, last: bool) -> str:
        text, mark, behind = self._left.partition(self._marks.closing)
        self.ended = last or bool(mark)
        certain = text if self.ended else text[: len(text) - overlap(text, self._marks.closing)]
        self._left = behind if self.ended else text[len(certain.rstrip()) :]
        thought = certain.rstrip() if self._thought else certain.strip()
        self._thought = self._thought or bool(thought)
        return thought


def split_thoughts(text: str, syntax: str | None) -> tuple[str, str]:
    """Of a whole answer the thoughts that are told, and what stands behind all of them."""
    _, marks, told = read_answer_syntax(syntax)
    thought, behind = ThoughtReader(marks).feed(text, last=True) if marks else ("", text)
    return thought if told else "", behind


class SpokenTexts:
    """Takes the thoughts from the `text` events of one run, as they come."""

    def __init__(self) -> None:
        self._readers: dict[int, ThoughtReader] = {}
        self._lengths: Counter[int] = Counter()

    def read(self, data: dict[str, Any]) -> dict[str, Any]:
        """The event's data with `reasoning`, if it is told, beside `text`; `start` counts in the latter."""
        _, marks, told = read_answer_syntax(syntax_in(data))
        if marks is None:
            return data
        choice = data.get("choice", 0)
        thought, text = self._readers.setdefault(choice, ThoughtReader(marks)).feed(data["text"])
        start = self._lengths[choice]
        self._lengths[choice] += len(text)
        spoken = data | {"start": start, "text": text}
        return spoken | {"reasoning": thought} if thought and told else spoken
