"""Which batches an API process works on at the same time."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.batches.rounds import AT_ONCE, LONG_AT_ONCE, Rounds
from shared.batch import Turn
from shared.settings import Settings
from shared.store.script import Call

LONG = AT_ONCE + LONG_AT_ONCE


class Line:
    """A record store whose batches wait for their turns."""

    def __init__(self, *turns: Turn) -> None:
        self.turns = list(turns)

    async def run(self, call: Call[Any]) -> Any:
        if call.script.name != "batch_take":
            return "kept"
        return self.turns.pop(0) if self.turns else None


class Worked:
    """Of the large ones no turn ends; each says that it has begun."""

    begun: asyncio.Queue[str]

    def __init__(self, held: Any) -> None:
        self._turn = held.turn
        self.long = held.turn.pieces > 1

    async def run(self) -> float:
        self.begun.put_nowait(self._turn.batch.id)
        if self.long:
            await asyncio.Event().wait()
        return 0.0


def made(id: str, pieces: int) -> Turn:
    batch = cast(Any, SimpleNamespace(id=id))
    return Turn(batch, id, frozenset(), under_way=0, answered=0, pieces=pieces, room=0, now_ms=0)


def started(line: Line) -> Rounds:
    rounds = Rounds(cast(Any, SimpleNamespace(settings=Settings(), store=line)))
    rounds.start()
    return rounds


async def test_a_small_batch_does_not_wait_until_large_ones_are_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.batches.rounds.Work", Worked)
    Worked.begun = asyncio.Queue()
    large = [made(str(n), pieces=100) for n in range(LONG)]
    rounds = started(Line(*large, made("small", pieces=1)))
    async with asyncio.timeout(60):
        begun = [await Worked.begun.get() for _ in range(LONG_AT_ONCE + 1)]
    await rounds.aclose()
    assert begun == [str(n) for n in range(LONG_AT_ONCE)] + ["small"]


async def test_a_process_ends_though_it_hears_of_a_batch_just_then() -> None:
    rounds = started(Line())
    for _ in range(5):
        await asyncio.sleep(0)
    rounds.look_now()
    async with asyncio.timeout(20):
        await rounds.aclose()
