"""Pictures under their digest: what is there is read back, what is not is told apart from other failures."""

from pathlib import Path

import pytest

from shared.blobs import BlobMissingError, Blobs, digest
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
