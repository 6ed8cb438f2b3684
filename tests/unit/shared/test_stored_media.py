"""Pictures read back for who asked about them."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from api.jobs.service import Jobs
from shared.blobs import Blobs, digest
from shared.media import pictures
from shared.request import Image
from shared.settings import BlobSettings, Settings
from shared.store.script import AsyncStore
from tests.support.pictures import picture


async def test_nobody_waits_while_another_s_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    inspect = pictures.inspect

    def inspected(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return inspect(*arguments)

    monkeypatch.setattr(pictures, "inspect", inspected)
    blobs = Blobs(BlobSettings(url=f"file://{tmp_path}"))
    data = picture("WEBP")
    blobs.write(digest(data), data)

    service = Jobs(Settings(), cast(AsyncStore, None), blobs)
    assert (await service.picture(Image(digest=digest(data)))).startswith("data:image/webp;base64,UklGR")
    assert threads
    assert threading.main_thread() not in threads
