"""Requests that join and leave a batch while others compute."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import pytest

from shared.result import Piece
from tests.support.clients import until
from tests.support.families.asking import CONVERSATIONS, Conversation, Subject
from tests.support.patience import PATIENCE_S
from worker.engines.base import Cancelled, Engine, Row
from worker.engines.continuous import loop
from worker.engines.continuous.scheduler import Pace

ROWS = 4


@dataclass(frozen=True)
class Member:
    """One request of the crowd; a leaver's caller goes away after its first piece of text."""

    conversation: Conversation
    parameters: dict[str, Any]
    leaves: bool = False


def members(subject: Subject) -> list[Member]:
    """Requests of many lengths, so that rows leave from every place; two sample their tokens."""
    fitting = [c for c in CONVERSATIONS if c.fits(subject.family)]
    drawn = {"temperature": 1.2, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.1}
    asked = [fitting[number % len(fitting)] for number in range(7)]
    settings: list[dict[str, Any]] = [
        {"max_new_tokens": 10},
        {"max_new_tokens": 5},
        {"max_new_tokens": 13, "seed": 3, **drawn},
        {"max_new_tokens": 30},
        {"max_new_tokens": 7},
        {"max_new_tokens": 9, "seed": 8, **drawn},
        {"max_new_tokens": 8},
    ]
    return [Member(c, s, leaves=s["max_new_tokens"] == 30) for c, s in zip(asked, settings, strict=True)]


@dataclass
class Crowd:
    """Each member joins as soon as the one before it has text, or has ended.

    An engine with a line waits until that member is in it: so rows decode side by side on any machine.
    """

    engine: Engine
    subject: Subject
    started: list[threading.Event] = field(default_factory=list)

    def ask(self, crowd: list[Member]) -> list[tuple[int, ...] | None]:
        """The ids of every member; None of one that left."""
        self.started = [threading.Event() for _ in crowd]
        rows = [self.subject.row(self.engine, member.conversation, **member.parameters) for member in crowd]
        with ThreadPoolExecutor(len(crowd)) as pool:
            return list(pool.map(self._member, range(len(crowd)), crowd, rows))

    def at_once(self, crowd: list[Member], name: str) -> list[tuple[int, ...]]:
        """The same for members that come together, each with a scope of its own; nobody leaves."""
        rows = [
            self.subject.row(self.engine, member.conversation, f"{name} {number}", **member.parameters)
            for number, member in enumerate(crowd)
        ]
        with held_back(self.engine, len(rows)), ThreadPoolExecutor(len(rows)) as pool:
            return [finish.ids for finish in pool.map(self.engine.generate, rows)]

    def _member(self, number: int, member: Member, row: Row) -> tuple[int, ...] | None:
        if number:
            assert self.started[number - 1].wait(PATIENCE_S)

        def emit(_: Piece) -> None:
            if not self.started[number].is_set():
                self._call_next(number)
            if member.leaves:
                row.cancel.set()

        try:
            return self.engine.generate(replace(row, emit=emit)).ids
        except Cancelled:
            return None
        finally:
            self.started[number].set()

    def _call_next(self, number: int) -> None:
        """Runs on the engine's thread, which meanwhile takes nobody out of its line."""
        engine: Any = self.engine
        line = engine._loop._line if hasattr(engine, "_loop") else None
        before, following = len(line or ()), self.started[number + 1 : number + 2]
        self.started[number].set()
        if line is not None and following:
            until(lambda: len(line) > before or following[0].is_set())


@contextmanager
def held_back(engine: Any, count: int) -> Iterator[None]:
    """The engine begins no request until `count` have come."""
    line, complete = engine._loop._line, threading.Event()
    waiting = line.waiting

    def all_waiting() -> list[Any]:
        if len(line) >= count:
            complete.set()
        return waiting() if complete.is_set() else []

    line.waiting = all_waiting
    try:
        yield
    finally:
        del line.waiting


def in_chunks(patch: pytest.MonkeyPatch, tokens: int, *, mixes: bool) -> None:
    """Prompts are computed so many tokens at a time, beside steps or apart from them; three in one pass."""
    patch.setattr(Pace, "tokens", tokens)
    patch.setattr(Pace, "enough", 3 * tokens)
    patch.setattr(Pace, "mixes", lambda _: mixes)
    for name, value in (("MOST", tokens), ("SMALLEST", 1), ("TILE", 1)):
        patch.setattr(loop, name, value)


@contextmanager
def forwards(subject: Subject) -> Iterator[list[int]]:
    """Row counts of the networks' decoding steps."""
    network, counts = type(subject.network), list[int]()
    original: Callable[..., Any] = network.forward

    @wraps(original)
    def forward(self: Any, *args: Any, **inputs: Any) -> Any:
        ids = inputs.get("input_ids")
        if ids is not None and ids.shape[-1] == 1:
            counts.append(len(ids))
        return original(self, *args, **inputs)

    network.forward = forward
    try:
        yield counts
    finally:
        network.forward = original
