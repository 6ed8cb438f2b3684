"""Bytes that leave the blob store, in step with the records (`api/files.py`)."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from api.files import FileWriter
from shared.blobs import Blobs, digest
from shared.settings import BlobSettings
from tests.support.clients import until_async

PICTURE = b"a picture"
NAME = digest(PICTURE)


class Slow:
    """A record store that answers `deleted` when it is told to."""

    def __init__(self) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    async def run(self, _: Any) -> list[str]:
        self.asked.set()
        await self.answers.wait()
        return []


async def test_what_a_caller_deletes_is_gone_though_they_hang_up_meanwhile(tmp_path: Path) -> None:
    """Under another name it would lie there for an hour longer."""
    blobs, store = Blobs(BlobSettings(url=str(tmp_path))), Slow()
    blobs.write(NAME, PICTURE)
    forgetting = asyncio.create_task(FileWriter(cast(Any, store), blobs).forget(NAME))
    await store.asked.wait()
    forgetting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await forgetting
    store.answers.set()

    async def gone() -> bool:
        return not files(tmp_path)

    await until_async(gone)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
