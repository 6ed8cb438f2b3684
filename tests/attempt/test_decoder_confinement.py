"""A decoder that a hostile file has subverted reads nothing of this machine but fonts."""

import json
import socket
from pathlib import Path

import pytest

from shared.landlock import ASK_VERSION, CREATE_RULESET, LIBC
from shared.media.decoder_process import DecoderPool
from shared.media.pictures import PICTURE
from shared.settings import PictureSettings

VERSION = LIBC.syscall(CREATE_RULESET, None, 0, ASK_VERSION)


@pytest.mark.skipif(VERSION < 4, reason="the kernel has no Landlock that knows TCP")
def test_a_decoder_opens_no_file_and_calls_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    pool = DecoderPool(PICTURE, "tests.support.confined_decoder", PictureSettings(decode_limit_s=60))
    with socket.create_server(("127.0.0.1", 0)) as server:
        facts = pool.decode(json.dumps([str(tmp_path), server.getsockname()[1]]).encode(), None).facts
    pool.close()
    assert facts == {"threads": 1, "allowed": ["encodings"]}
