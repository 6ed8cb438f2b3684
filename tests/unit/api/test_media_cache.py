import asyncio
import threading
from pathlib import Path

import pytest

from api.admission.media_check import PictureInfoCache
from api.server import memory_budget
from api.server.memory_budget import FREE, MemoryBudget, Reservation
from shared.blobs import AT_ONCE, Blobs, digest
from shared.errors import Unavailable
from shared.request import Image
from shared.settings import BlobSettings, PictureSettings
from tests.support.patience import PATIENCE_S
from tests.support.pictures import png, png_chunk


async def test_reading_an_earlier_picture_waits_for_the_memory_that_large_requests_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 0.01)
    blobs, rack = Blobs(BlobSettings(url=str(tmp_path))), MemoryBudget(2 * FREE)
    data = png((8, 6), b"", extra=(png_chunk(b"juNk", bytes(2 * FREE)),))
    name = digest(data)
    blobs.write(name, data)
    album, shown = (
        PictureInfoCache(PictureSettings(), blobs),
        [Image(digest=name, param="previous_response_id")],
    )
    sizes = await album.sizes([name])
    other, own = Reservation(rack), Reservation(rack)
    await other.take(2 * FREE)

    with pytest.raises(Unavailable, match="large requests"):
        await album.infos(shown, sizes, own)
    await other.release()
    (info,) = await album.infos(shown, sizes, own)
    assert (info.width, info.height, info.param) == (8, 6, "previous_response_id")


async def test_a_long_conversation_leaves_a_slow_store_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, hanging, over = Blobs(BlobSettings(url=str(tmp_path))), threading.Event(), threading.Event()
    data = b"another's picture"
    blobs.write(digest(data), data)

    def size(_: str) -> int:
        hanging.set()
        over.wait()
        return 1

    monkeypatch.setattr(blobs, "size", size)
    names = [digest(b"%d" % number) for number in range(AT_ONCE)]
    looking = asyncio.create_task(PictureInfoCache(PictureSettings(), blobs).sizes(names))
    await asyncio.to_thread(hanging.wait)
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert await blobs.in_thread(blobs.read, digest(data)) == data
    finally:
        over.set()
    assert await looking == dict.fromkeys(names, 1)
