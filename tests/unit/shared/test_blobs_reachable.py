"""Whether the folder or the object store is there at all: said truly, at once, and asked of it seldom."""

import asyncio
import errno
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shared import blobs as blobs_module
from shared.blobs import Blobs, BlobsUnavailable, digest
from shared.settings import BlobSettings
from tests.support.object_store import SECRET, URL, object_store
from tests.support.patience import PATIENCE_S
from tests.support.service import ROOT

ENDING = """
import asyncio, sys
import shared.blobs
from shared.blobs import Blobs, digest
from shared.settings import BlobSettings
async def main():
    blobs = Blobs(BlobSettings(url=sys.argv[1]))
    await blobs.in_thread(blobs.write, digest(b"last"), b"last")
    assert b"".join([piece async for piece in await blobs.stream(digest(b"last"))]) == b"last"
    shared.blobs.REACHED_S = 60
    assert await blobs.reach() == "reachable"
asyncio.run(main())
"""


def test_a_process_that_ends_right_behind_its_last_look_is_not_aborted(tmp_path: Path) -> None:
    for _ in range(3):
        argv = (sys.executable, "-c", ENDING, str(tmp_path))
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_that_was_deleted_is_not_said_to_be_well(tmp_path: Path) -> None:
    blobs = Blobs(BlobSettings(url=str(tmp_path / "blobs")))
    assert blobs.probe() == "reachable"
    (tmp_path / "blobs").rmdir()
    assert blobs.probe() == "unreachable"


async def test_pictures_are_not_said_to_be_well_where_each_will_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume of another owner, or mounted for reading only: rights tell, and nothing is written to see."""
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    assert await Blobs(BlobSettings(url=str(tmp_path))).reach() == "read_only"


async def test_a_store_that_refused_its_last_picture_is_not_said_to_be_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a bucket whose key may only read: a look does not tell."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    blobs = Blobs(BlobSettings(url=str(tmp_path)))
    with monkeypatch.context() as full:
        full.setattr("obstore.put", refuse)
        with pytest.raises(BlobsUnavailable):
            blobs.write(digest(b"picture"), b"picture")
    assert await blobs.reach() == "read_only"
    blobs.write(digest(b"picture"), b"picture")
    assert await blobs.reach() == "reachable"


async def test_a_store_that_is_down_is_no_missing_file_and_is_well_again_afterwards(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(blobs_module, "REACHED_S", PATIENCE_S)
    monkeypatch.setattr(blobs_module, "ASKED_AGAIN_S", 10 * PATIENCE_S)
    with object_store() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        blobs, name = Blobs(BlobSettings(url=URL)), digest(b"picture")
        assert await blobs.reach() == "reachable"
        server.kill()
        caplog.set_level(logging.DEBUG)
        upload = blobs.stage()
        upload.write(b"picture")
        with pytest.raises(BlobsUnavailable) as refused:
            blobs.adopt(upload)
        upload.discard()
        assert (refused.value.status, refused.value.retry_after) == (503, 30)
        with pytest.raises(BlobsUnavailable):
            blobs.read(name)
        assert await blobs.reach() == "read_only", "each look is paid for"
        monkeypatch.setattr(blobs_module, "ASKED_AGAIN_S", 0)
        assert await blobs.reach() == "unreachable"
        assert SECRET not in caplog.text
        server.start()
        for read in (blobs.read, blobs.open, blobs.set_aside):
            caplog.clear()
            with pytest.raises(BlobsUnavailable):
                read(name)
            assert "NoSuchBucket" in caplog.text, "a bucket that is not there is no missing picture"
        with pytest.raises(BlobsUnavailable):
            await blobs.stream(name)


async def test_a_store_that_hangs_is_not_looked_at_by_every_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "REACHED_S", 0.05)
    monkeypatch.setattr(blobs_module, "ASKED_AGAIN_S", 0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keys = {"AWS_ACCESS_KEY_ID": "sightline", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
        for name, value in {"AWS_ENDPOINT_URL": address, **keys}.items():
            monkeypatch.setenv(name, value)
        blobs = Blobs(BlobSettings(url=URL))
        assert [await blobs.reach() for _ in range(3)] == ["unreachable"] * 3
        # Held: who is hung up on asks again.
        with silent.accept()[0]:
            silent.setblocking(False)
            with pytest.raises(BlockingIOError):
                silent.accept()


async def test_a_process_that_is_busy_reading_and_writing_does_not_take_its_store_to_be_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs_module, "REACHED_S", PATIENCE_S)
    monkeypatch.setattr(blobs_module, "AT_ONCE", 1)
    blobs, end = Blobs(BlobSettings(url=str(tmp_path))), threading.Event()
    monkeypatch.setattr(blobs, "read", lambda _: end.wait())
    slow = asyncio.create_task(blobs.in_thread(blobs.read, digest(b"picture")))
    await asyncio.sleep(0)
    found = await blobs.reach()
    end.set()
    await slow
    assert found == "reachable"


async def test_a_process_that_stood_still_does_not_take_its_store_to_be_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs_module, "REACHED_S", 0)
    monkeypatch.setattr(blobs_module, "HEARD_S", PATIENCE_S)
    assert await Blobs(BlobSettings(url=str(tmp_path))).reach() == "reachable"
