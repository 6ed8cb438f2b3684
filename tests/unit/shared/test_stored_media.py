"""Pictures and sounds read back for who asked about them."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from api.jobs.service import Jobs
from shared.blobs import Blobs, digest
from shared.media import pictures, sounds
from shared.request import Image, Sound
from shared.settings import BlobSettings, Settings
from shared.store.script import AsyncStore
from tests.support.pictures import picture
from tests.support.sounds import sound


@pytest.mark.parametrize(
    ("part", "data", "lead"),
    [
        (Image, picture("WEBP"), "data:image/webp;base64,UklGR"),
        (Sound, sound("MP3"), "data:audio/mp3;base64,//"),
        (Sound, sound("FLAC"), "data:audio/flac;base64,ZkxhQ"),
    ],
    ids=["WebP", "MP3", "FLAC"],
)
async def test_nobody_waits_while_what_another_sent_is_read_back(
    part: type[Image | Sound], data: bytes, lead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def watched(inspect: Any) -> Any:
        def inspected(*arguments: Any) -> Any:
            threads.append(threading.current_thread())
            return inspect(*arguments)

        return inspected

    for module, name in ((pictures, "inspect"), (sounds, "check_sound")):
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    blobs = Blobs(BlobSettings(url=f"file://{tmp_path}"))
    blobs.write(digest(data), data)

    kept = Jobs(Settings(), cast(AsyncStore, None), blobs)
    assert (await kept.media(part(digest=digest(data)))).startswith(lead)
    assert threads
    assert threading.main_thread() not in threads
