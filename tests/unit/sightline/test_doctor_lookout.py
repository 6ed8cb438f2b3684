"""`sightline run` and its data folder: what is lost with it is said, and nothing waits for its disk."""

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sightline.exits import CommandError, Exit
from sightline.serving import folder as module
from sightline.serving.folder import DataFolder, DataFolderWatch
from sightline.serving.run import until_stopped
from tests.support.patience import PATIENCE_S


async def test_a_data_folder_that_is_deleted_under_way_ends_the_service_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it accepts from then on would be lost at its end, and a second one could be started beside it."""
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    folder = DataFolder(tmp_path / "data")
    fd, ended = folder.lock(wait_s=0), asyncio.Event()

    async def serve(_: object) -> None:
        shutil.rmtree(folder.path)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    runner: Any = SimpleNamespace(serve=serve)
    with pytest.raises(CommandError, match="was deleted, moved or unmounted while") as caught:
        await asyncio.wait_for(until_stopped(runner, folder), 60)

    assert caught.value.code is Exit.DATA
    assert ended.is_set()
    assert capsys.readouterr().out == "stopping (the data folder is gone)\n"
    os.close(fd)


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    "end",
    [
        lambda: fail(CommandError(Exit.CHILD, "redis could not be started")),
        lambda: fail(FileNotFoundError("data/logs/redis.log")),
        lambda: os.kill(os.getpid(), signal.SIGTERM),
    ],
    ids=["a process cannot be started", "a file is missing", "told to stop"],
)
async def test_a_lost_data_folder_is_named_also_where_something_else_ends_the_service_first(
    end: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 60)
    folder = DataFolder(tmp_path / "data")
    fd = folder.lock(wait_s=0)

    async def serve(_: object) -> None:
        await asyncio.sleep(0)
        shutil.rmtree(folder.path)
        end()
        await asyncio.Event().wait()

    runner: Any = SimpleNamespace(serve=serve)
    with pytest.raises(CommandError, match="was deleted, moved or unmounted while") as caught:
        await asyncio.wait_for(until_stopped(runner, folder), 60)

    assert caught.value.code is Exit.DATA
    os.close(fd)


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

    runner: Any = SimpleNamespace(serve=serve)
    hanging: Any = SimpleNamespace(holds=holds)
    await asyncio.wait_for(until_stopped(runner, hanging), 60)

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
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    folder = DataFolder(tmp_path / "data")
    fd, served = folder.lock(wait_s=0), asyncio.Event()

    async def serve(_: object) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(9):  # what a signal wakes comes some turns later
            await asyncio.sleep(0)
        served.set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    runner: Any = SimpleNamespace(serve=serve)
    await asyncio.wait_for(until_stopped(runner, folder), 60)

    assert served.is_set()
    assert capsys.readouterr().out == "stopping (the data is kept)\n"
    os.close(fd)
