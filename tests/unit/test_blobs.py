"""Pictures under their digest: what is there is read back, what is not is told apart from other failures."""

from pathlib import Path

import pytest

from shared.blobs import BlobMissingError, Blobs, Staged, digest
from shared.errors import Unavailable
from shared.settings import BlobSettings


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(BlobSettings(url=str(tmp_path / "blobs")))


def test_what_was_written_is_read_back_by_its_digest(blobs: Blobs) -> None:
    name = digest(b"picture")
    blobs.write(name, b"picture")
    blobs.write(name, b"picture")
    assert blobs.read(name) == b"picture"


def test_a_picture_that_is_gone_says_so(blobs: Blobs) -> None:
    with pytest.raises(BlobMissingError):
        blobs.read(digest(b"never written"))


async def test_deleting_what_is_gone_already_is_no_error(blobs: Blobs) -> None:
    name = digest(b"picture")
    await blobs.write_async(name, b"picture")
    blobs.delete(name)
    blobs.delete(name)
    with pytest.raises(BlobMissingError):
        blobs.read(name)


async def test_a_staged_file_is_read_back_under_the_name_of_its_bytes(blobs: Blobs) -> None:
    for _ in range(2):
        staged = blobs.stage()
        staged.write(b"one, ")
        staged.write(b"two")
        blobs.adopt(staged)
        staged.discard()
    assert (staged.digest, staged.size) == (digest(b"one, two"), 8)
    assert blobs.read(staged.digest) == b"one, two"
    assert b"".join([piece async for piece in await blobs.stream(staged.digest)]) == b"one, two"


def test_a_discarded_file_leaves_nothing(blobs: Blobs) -> None:
    staged = blobs.stage()
    staged.write(b"half")
    staged.discard()
    assert not staged.path.exists()
    with pytest.raises(BlobMissingError):
        blobs.adopt(staged)


def test_what_was_set_aside_can_be_put_back(blobs: Blobs) -> None:
    name = digest(b"picture")
    blobs.write(name, b"picture")
    aside = blobs.set_aside(name)
    with pytest.raises(BlobMissingError):
        blobs.open(name)
    blobs.rename(aside, name)
    assert blobs.read(name) == b"picture"
    with pytest.raises(BlobMissingError):
        blobs.set_aside(aside)


async def test_a_file_that_is_deleted_while_it_is_read_is_read_to_its_end(blobs: Blobs) -> None:
    name = digest(b"picture")
    blobs.write(name, b"picture")
    pieces = await blobs.stream(name)
    with blobs.open(name) as opened:
        blobs.delete(name)
        assert opened.read() == b"picture"
    assert b"".join([piece async for piece in pieces]) == b"picture"
    with pytest.raises(BlobMissingError):
        await blobs.stream(name)


async def test_where_nothing_can_be_written_the_caller_is_told_to_come_again(
    tmp_path: Path, blobs: Blobs
) -> None:
    name = digest(b"picture")
    (tmp_path / "blobs" / name[:2]).write_text("a file where a folder should be")
    with pytest.raises(Unavailable, match="try again later"):
        blobs.write(name, b"picture")
    with pytest.raises(Unavailable, match="try again later"):
        await blobs.write_async(name, b"picture")


def test_a_file_that_does_not_fit_on_the_disk_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    staged = Staged(full)
    with pytest.raises(Unavailable, match="try again later"):
        staged.write(bytes(2**20))
    staged.discard()
    assert not full.is_symlink()
