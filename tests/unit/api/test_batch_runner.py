"""Which batches an API process works on at the same time."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pytest

from api.batches.lease import LeasedBatch
from api.batches.runner import BatchRunner
from shared.batch import BatchLease
from shared.settings import Settings
from shared.store.script import ScriptCall


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


def started(line: Line) -> BatchRunner:
    runner = BatchRunner(cast(Any, SimpleNamespace(settings=Settings(), store=line)))
    runner.start()
    return runner


def made(id: str) -> BatchLease:
    batch = cast(Any, SimpleNamespace(id=id))
    return BatchLease(batch, id, frozenset(), under_way=0, answered=0, room=0, now_ms=0)


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
        async with Slow(cast(Any, None), made("batch")).opened():
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
