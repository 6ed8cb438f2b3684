"""`sightline run` and its data folder: what is lost with it is said, and nothing waits for its disk."""

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sightline.exits import CommandError, Exit
from sightline.serving import folder as module
from sightline.serving.folder import DataFolder, DataFolderWatch
from sightline.serving.run import until_stopped
from tests.support.patience import PATIENCE_S


async def served(serve: Callable[[object], Awaitable[None]], folder: Any) -> None:
    runner: Any = SimpleNamespace(serve=serve)
    await asyncio.wait_for(until_stopped(runner, folder), 60)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    """Locked, as a service has it."""
    data = DataFolder(tmp_path / "data")
    fd = data.lock(wait_s=0)
    yield data
    os.close(fd)


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("end", "look_s"),
    [
        (lambda: None, 0.01),
        (lambda: fail(CommandError(Exit.CHILD, "redis could not be started")), 60),
        (lambda: fail(FileNotFoundError("data/logs/redis.log")), 60),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 60),
    ],
    ids=["it is looked at", "a process cannot be started", "a file is missing", "told to stop"],
)
async def test_a_data_folder_that_is_deleted_under_way_ends_the_service_and_is_named_before_what_follows(
    end: Callable[[], None],
    look_s: float,
    folder: DataFolder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it accepts from then on would be lost at its end, and a second one could be started beside it."""
    monkeypatch.setattr(module, "LOOK_S", look_s)
    ended = asyncio.Event()

    async def serve(_: object) -> None:
        try:
            await asyncio.sleep(0)
            shutil.rmtree(folder.path)
            end()
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(CommandError, match="was deleted, moved or unmounted while") as caught:
        await served(serve, folder)

    assert (caught.value.code, ended.is_set()) == (Exit.DATA, True)
    assert capsys.readouterr().out == "stopping (the data folder is gone)\n"


async def test_a_data_folder_whose_disk_hangs_does_not_keep_the_service_from_stopping(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    released, ended = threading.Event(), threading.Event()

    def holds() -> bool:
        released.wait(PATIENCE_S)
        ended.set()
        return True

    async def serve(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    await served(serve, SimpleNamespace(holds=holds))

    assert not ended.is_set()
    assert capsys.readouterr().out == "stopping (the data is kept)\n"
    released.set()


async def test_a_system_without_a_thread_to_spare_is_no_lost_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookout = DataFolderWatch(DataFolder(tmp_path))
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", lambda _: fail(RuntimeError("can't start new thread")))
        assert await lookout.holds()

    assert not await lookout.holds()


async def test_a_service_that_nohup_started_outlives_the_log_out(
    folder: DataFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    lived = asyncio.Event()

    async def serve(_: object) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(9):  # what a signal wakes comes some turns later
            await asyncio.sleep(0)
        lived.set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    await served(serve, folder)

    assert lived.is_set()
    assert capsys.readouterr().out == "stopping (the data is kept)\n"
