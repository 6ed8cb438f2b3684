"""A decoder that cannot be started is our fault, and nothing of it is left."""

import sys
from pathlib import Path

import psutil
import pytest

from shared.errors import InternalError
from shared.settings import PictureSettings
from tests.support import pictures as make
from tests.support.pictures import decoded
from worker.media.images import Decoder


def test_a_caller_is_not_blamed_where_no_process_can_be_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    decoder, data = Decoder(PictureSettings()), make.picture("PNG")
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", str(tmp_path / "gone"))
        before = psutil.Process().num_fds()
        with pytest.raises(InternalError) as refused:
            decoded(decoder, data)
        assert psutil.Process().num_fds() == before, refused
    assert decoded(decoder, data).mode == "RGB"
    decoder.close()
