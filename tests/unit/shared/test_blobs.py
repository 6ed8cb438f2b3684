"""Bytes under their digest, in a folder and in an object store: they come back, or are said to be gone."""

import errno
import os
import resource
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.blobs import BlobMissingError, Blobs, BlobsUnavailable, Staged, digest
from shared.blobs.bucket import BUFFER, PART, PIECE
from shared.settings import BlobSettings
from tests.support.clouds import Cloud, cloud
from tests.support.object_store import BUCKET, URL, ObjectStore, object_store

LARGE = bytes(range(256)) * (40 * 2**10)
"""Several parts of an upload, and several pieces of a download."""


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as started:
        yield started


@pytest.fixture(scope="module")
def clouds() -> Iterator[Cloud]:
    with cloud() as started:
        yield started


def opened(where: ObjectStore | Cloud, url: str, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    for name, value in where.env.items():
        monkeypatch.setenv(name, value)
    return Blobs(BlobSettings(url=url))


@pytest.fixture
def bucket(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    return opened(server, URL, monkeypatch)


@pytest.fixture
def google(clouds: Cloud, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    return opened(clouds, f"gs://{BUCKET}/google/ours", monkeypatch)


@pytest.fixture
def azure(clouds: Cloud, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    return opened(clouds, f"az://{BUCKET}/azure/ours", monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Blobs:
    return Blobs(BlobSettings(url=f"file://{tmp_path}/blobs"))


@pytest.fixture(params=["folder", "bucket", "google", "azure"])
def blobs(request: pytest.FixtureRequest) -> Blobs:
    found: Blobs = request.getfixturevalue(request.param)
    return found


def staged(blobs: Blobs, *pieces: bytes) -> Staged:
    found = blobs.stage()
    for piece in pieces:
        found.write(piece)
    return found


def adopted(blobs: Blobs, *pieces: bytes) -> Staged:
    upload = staged(blobs, *pieces)
    blobs.adopt(upload)
    upload.discard()
    return upload


async def streamed(blobs: Blobs, name: str) -> bytes:
    return b"".join([piece async for piece in await blobs.stream(name)])


async def test_what_was_written_is_read_back_by_its_digest(blobs: Blobs) -> None:
    name = digest(b"picture")
    blobs.write(name, b"picture")
    await blobs.in_thread(blobs.write, name, b"picture")
    assert blobs.read(name) == await blobs.in_thread(blobs.read, name) == b"picture"
    assert blobs.size(name) == await blobs.in_thread(blobs.size, name) == len(b"picture")
    with blobs.open(name) as opened:
        assert opened.read() == b"picture"
    assert await streamed(blobs, name) == b"picture"


async def test_bytes_that_are_gone_say_so_however_they_are_read(blobs: Blobs) -> None:
    name = digest(b"deleted")
    await blobs.in_thread(blobs.write, name, b"deleted")
    for _ in range(2):
        blobs.delete(name)
    for read in (blobs.read, blobs.size, blobs.open, blobs.set_aside):
        with pytest.raises(BlobMissingError):
            read(name)
    with pytest.raises(BlobMissingError):
        await blobs.stream(name)


async def test_an_upload_is_read_back_under_the_name_of_its_bytes(blobs: Blobs) -> None:
    upload, _ = (adopted(blobs, b"one, ", b"two") for _ in range(2))
    assert (upload.digest, upload.size) == (digest(b"one, two"), 8)
    assert blobs.read(upload.digest) == b"one, two"


async def test_a_large_file_comes_back_whole_and_lines_are_found_in_it(blobs: Blobs) -> None:
    upload = adopted(blobs, LARGE)
    assert upload.size > max(PART, PIECE, BUFFER)
    assert await streamed(blobs, upload.digest) == LARGE
    with blobs.open(upload.digest) as opened:
        first = opened.readline()
        opened.seek(-len(first), 2)
        assert opened.tell() == len(LARGE) - len(first)
        assert opened.readline() == LARGE[-len(first) :]
        opened.seek(3)
        assert opened.read(BUFFER + 5) == LARGE[3 : BUFFER + 8]


async def test_a_large_file_is_never_whole_in_memory(bucket: Blobs) -> None:
    upload = staged(bucket, *[LARGE] * 4)
    tracemalloc.start()
    try:
        bucket.adopt(upload)
        with bucket.open(upload.digest) as opened:
            while opened.read(2**16):
                pass
        async for piece in await bucket.stream(upload.digest):
            assert len(piece) <= PIECE
        assert tracemalloc.get_traced_memory()[1] < 3 * PART < upload.size
    finally:
        tracemalloc.stop()
        upload.discard()


def test_nobody_sees_half_an_upload_and_a_discarded_one_leaves_nothing(blobs: Blobs) -> None:
    upload = staged(blobs, b"half a ")
    with pytest.raises(BlobMissingError):
        blobs.read(digest(b"half a "))
    upload.discard()
    with pytest.raises(BlobMissingError):
        blobs.read(digest(b"half a "))
    assert upload.path is None or not upload.path.exists()


def test_what_was_set_aside_can_be_put_back(blobs: Blobs) -> None:
    name = digest(b"aside")
    blobs.write(name, b"aside")
    aside = blobs.set_aside(name)
    with pytest.raises(BlobMissingError):
        blobs.read(name)
    blobs.rename(aside, name)
    assert blobs.read(name) == b"aside"
    with pytest.raises(BlobMissingError):
        blobs.set_aside(aside)


def test_what_is_old_enough_is_found_to_be_collected(blobs: Blobs) -> None:
    names = {digest(b"%d" % number) for number in range(5)}
    for name in names:
        blobs.write(name, b"x")
    assert not [name for some in blobs.older(3600, 2) for name in some]
    found = sorted(name for some in blobs.older(-3600, 2) for name in some)
    assert names <= {*found}
    assert sorted(name for some in blobs.older(-3600, 1000) for name in some) == found, (
        "a look leaves nothing"
    )


async def test_a_file_that_is_deleted_while_it_is_read_is_read_to_its_end(folder: Blobs) -> None:
    name = digest(b"picture")
    folder.write(name, b"picture")
    pieces = await folder.stream(name)
    with folder.open(name) as opened:
        folder.delete(name)
        assert opened.read() == b"picture"
    assert b"".join([piece async for piece in pieces]) == b"picture"


def test_an_object_that_is_deleted_while_it_is_read_is_not_read_as_its_beginning(bucket: Blobs) -> None:
    upload = adopted(bucket, LARGE)
    with bucket.open(upload.digest) as opened:
        opened.read(1)
        bucket.delete(upload.digest)
        with pytest.raises(BlobMissingError):
            opened.read()


async def test_where_nothing_can_be_written_the_caller_is_told_to_come_again_and_the_log_why(
    folder: Blobs, caplog: pytest.LogCaptureFixture
) -> None:
    before, name = resource.getrlimit(resource.RLIMIT_FSIZE), digest(b"picture")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        with pytest.raises(BlobsUnavailable, match="try again later"):
            folder.write(name, b"picture")
        with pytest.raises(BlobsUnavailable, match="try again later"):
            await folder.in_thread(folder.write, name, b"picture")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {*caplog.messages} == {f"the blob store cannot be written: {os.strerror(errno.EFBIG)}"}


def test_a_file_that_does_not_fit_on_the_disk_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    upload = Staged(full)
    with pytest.raises(BlobsUnavailable, match="try again later"):
        upload.write(bytes(2**20))
    upload.discard()
    assert not full.is_symlink()


@pytest.mark.parametrize("url", ["s3://pictures", "s3://pictures/", "s3://pictures/of/ours/"])
def test_a_slash_at_the_end_is_no_other_place(bucket: Blobs, url: str) -> None:
    name = digest(url.encode())
    Blobs(BlobSettings(url=url)).write(name, b"picture")
    assert Blobs(BlobSettings(url=url.rstrip("/"))).read(name) == b"picture"
    assert bucket.kind == "s3"


def test_a_clock_that_is_ahead_takes_nothing_new_for_old(
    folder: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload under way would be deleted: only its age protects it. The files' clock is two hours late."""
    theirs, dated = time.time() - 7200, os.utime
    upload = staged(folder, b"a file")
    assert upload.path is not None
    half = upload.path.with_name(f"{upload.path.name}#1")
    half.touch()
    for path in (upload.path, half):
        dated(path, (theirs - 10, theirs - 10))
    monkeypatch.setattr(os, "utime", lambda path: dated(path, (theirs, theirs)))
    assert (list(folder.older(3600, 10)), folder.sweep(3600)) == ([[]], 0)
    assert (list(folder.older(5, 10)), folder.sweep(5)) == ([[upload.path.name]], 1)
    upload.discard()


def test_an_upload_whose_file_was_taken_away_can_be_sent_again(folder: Blobs) -> None:
    upload = staged(folder, b"a file")
    assert upload.path is not None
    upload.path.unlink()
    with pytest.raises(BlobsUnavailable):
        folder.adopt(upload)
    upload.discard()
    assert folder._refused < 0, "which is no sign that nothing can be written"


def test_a_folder_that_is_bare_or_gone_is_taken_for_not_mounted(folder: Blobs, tmp_path: Path) -> None:
    with pytest.raises(BlobsUnavailable):
        folder.check_mounted()
    folder.write(digest(b"one"), b"one")
    folder.check_mounted()
    shutil.rmtree(tmp_path / "blobs")
    looks: list[Callable[[], object]] = [
        folder.check_mounted,
        lambda: [*folder.older(5, 10)],
        lambda: folder.sweep(5),
    ]
    for look in looks:
        with pytest.raises(BlobsUnavailable):
            look()
