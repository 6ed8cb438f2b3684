import shutil
import tracemalloc

import pytest

from shared.blobs import BlobMissingError, digest
from tests.support.attempt_harness import WorkerHarness
from tests.support.existing import existing
from tests.support.pictures import png, png_chunk
from worker.media import blob_reader

LARGE = 2 * 2**20


def test_a_request_s_large_pictures_are_not_all_in_memory_at_once(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_reader, "CACHED_BYTES", 1)
    rows = b"\0" + bytes(3)
    job = harness.ask(
        "look", *(png((1, 1), rows, extra=(png_chunk(b"juNk", bytes([n]) * LARGE),)) for n in range(6))
    )
    tracemalloc.start()
    try:
        harness.attempt()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert harness.job(job).status == "succeeded"
    assert most < 5 * LARGE


def test_every_picture_that_was_lost_is_named_at_once(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_reader, "CACHED_BYTES", 1)
    there = digest(b"there")
    harness.blobs.write(there, b"there")
    with pytest.raises(BlobMissingError) as error:
        blob_reader.BlobReader(harness.blobs, ["0" * 64, there, "1" * 64, there, "2" * 64])
    assert error.value.names == ("0" * 64, "1" * 64, "2" * 64)


def test_a_worker_whose_folder_is_not_mounted_fails_nobody_s_job(harness: WorkerHarness) -> None:
    """As a bare mountpoint: another worker has the pictures, or this one soon."""
    job = harness.ask("look", png((1, 1), b"\0" + bytes(3)))
    folder = existing(harness.settings.blobs.folder)
    blobs = [*folder.iterdir()]
    for blob in blobs:
        shutil.rmtree(blob)
    harness.attempt()
    assert blobs
    assert [tried.outcome for tried in harness.job(job).attempts] == ["store_unavailable"]
