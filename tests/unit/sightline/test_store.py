"""`sightline store`, as an operator types it."""

from pathlib import Path

import pytest

from shared.blobs import Blobs
from shared.settings import BlobSettings
from sightline.cli import main
from sightline.exits import Exit
from tests.support.ports import free_port
from tests.support.redis_server import redis_server


def test_pictures_of_a_record_store_that_was_lost_are_given_to_the_one_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blobs = Blobs(BlobSettings(url=str(tmp_path)))
    blobs.assign("lost")
    monkeypatch.setenv("SIGHTLINE_BLOBS__URL", str(tmp_path))
    with redis_server() as server:
        monkeypatch.setenv("SIGHTLINE_REDIS__URL", server.url())
        assert main(["store", "adopt"]) == Exit.OK
    owner = blobs.owner()
    assert owner != "lost"
    assert f"belongs to the record store {owner}\n" in capsys.readouterr().err

    monkeypatch.setenv("SIGHTLINE_REDIS__URL", f"redis://127.0.0.1:{free_port()}/0")
    assert main(["store", "adopt"]) == Exit.REDIS
    assert blobs.owner() == owner
