"""Which batches an API process works on at the same time."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pytest

from api.batches.lease import LeasedBatch
from api.batches.runner import AT_ONCE, IDLE_S, LONG_AT_ONCE, BatchRunner
from shared.batch import BatchLease
from shared.settings import Settings
from shared.store.script import ScriptCall

LONG = AT_ONCE + LONG_AT_ONCE


class Line:
    """A record store whose batches wait for their turns."""

    def __init__(self, *turns: BatchLease) -> None:
        self.turns = list(turns)
        self.kept: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    async def run(self, call: ScriptCall[Any]) -> Any:
        if call.script.name != "batch_take":
            self.kept.put_nowait(call.arguments)
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


def made(id: str, pieces: int) -> BatchLease:
    batch = cast(Any, SimpleNamespace(id=id))
    return BatchLease(batch, id, frozenset(), under_way=0, answered=0, pieces=pieces, room=0, now_ms=0)


def started(line: Line) -> BatchRunner:
    runner = BatchRunner(cast(Any, SimpleNamespace(settings=Settings(), store=line)))
    runner.start()
    return runner


async def test_a_small_batch_does_not_wait_until_large_ones_are_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.batches.runner.BatchTurn", Worked)
    Worked.begun = asyncio.Queue()
    large = [made(str(n), pieces=100) for n in range(LONG)]
    runner = started(Line(*large, made("small", pieces=1)))
    async with asyncio.timeout(60):
        begun = [await Worked.begun.get() for _ in range(LONG_AT_ONCE + 1)]
    await runner.aclose()
    assert begun == [str(n) for n in range(LONG_AT_ONCE)] + ["small"]


async def test_a_large_batch_is_another_process_s_where_this_one_puts_one_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This one may hang."""
    monkeypatch.setattr("api.batches.runner.BatchTurn", Worked)
    Worked.begun = asyncio.Queue()
    line = Line(*(made(str(n), pieces=100) for n in range(LONG_AT_ONCE + AT_ONCE + 1)))
    runner = started(line)
    async with asyncio.timeout(60):
        kept = [await line.kept.get() for _ in range(AT_ONCE + 1)]
    await runner.aclose()
    assert [said["id"] for said in kept] == [str(n) for n in range(LONG_AT_ONCE, LONG_AT_ONCE + AT_ONCE + 1)]
    # Left are batches none of whose bytes was found to be missing.
    assert {(said["ms"], said["leave"]) for said in kept} == {(IDLE_S * 1000, None)}
    assert Worked.begun.qsize() == LONG_AT_ONCE


async def test_a_process_ends_though_it_hears_of_a_batch_just_then() -> None:
    runner = started(Line())
    for _ in range(5):
        await asyncio.sleep(0)
    runner.wake()
    async with asyncio.timeout(60):
        await runner.aclose()


async def test_a_turn_cut_off_while_its_file_is_opened_leaves_none_open(tmp_path: Path) -> None:
    opening, may_open = asyncio.Event(), threading.Event()
    loop, file = asyncio.get_running_loop(), (tmp_path / "lines").open("wb+")

    class Slow(LeasedBatch):
        def open(self) -> BinaryIO:
            loop.call_soon_threadsafe(opening.set)
            may_open.wait(60)
            return file

    async def turn() -> None:
        async with Slow(cast(Any, None), made("batch", 1)).opened():
            pass

    task = asyncio.create_task(turn())
    await opening.wait()
    task.cancel()
    may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(60):
        while not file.closed:
            await asyncio.sleep(0)
