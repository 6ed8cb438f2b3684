"""Which batches an API process works on at the same time."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pytest

from api.batches.lease import LeasedBatch
from api.batches.runner import BatchRunner
from shared.settings import Settings
from shared.store.script import ScriptCall
from tests.support.patience import PATIENCE_S


class Idle:
    """A record store without a batch."""

    async def run(self, _: ScriptCall[Any]) -> Any:
        return None


async def test_a_process_ends_though_it_hears_of_a_batch_just_then() -> None:
    runner = BatchRunner(cast(Any, SimpleNamespace(settings=Settings(), store=Idle())))
    runner.start()
    for _ in range(5):
        await asyncio.sleep(0)
    runner.wake()
    async with asyncio.timeout(PATIENCE_S):
        await runner.aclose()


async def test_a_turn_cut_off_while_its_file_is_opened_leaves_none_open(tmp_path: Path) -> None:
    opening, may_open = asyncio.Event(), threading.Event()
    loop, file = asyncio.get_running_loop(), (tmp_path / "lines").open("wb+")

    class Slow(LeasedBatch):
        def open(self) -> BinaryIO:
            loop.call_soon_threadsafe(opening.set)
            may_open.wait(PATIENCE_S)
            return file

    async def turn() -> None:
        async with Slow(*[cast(Any, None)] * 3).opened():
            pass

    task = asyncio.create_task(turn())
    await opening.wait()
    task.cancel()
    may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(PATIENCE_S):
        while not file.closed:
            await asyncio.sleep(0)
