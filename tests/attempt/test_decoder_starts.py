"""A decoder that cannot be started, or that somebody else kills, is no fault of the file."""

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from shared.errors import CallerError
from shared.media.decoder_process import DecoderPool, DecoderProcess, NoDecoder
from shared.media.pictures import PICTURE, decoding, inspect
from shared.media.sizes import Room
from shared.settings import PictureSettings
from tests.support import pictures as make
from tests.support.loud_decoder import DEADLY
from tests.support.pictures import decoded
from worker.media.picture_decoder import PictureDecoder


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Of all socket pairs that are made: ours, a child's, …"""
    made, socketpair = list[socket.socket](), socket.socketpair

    def noted() -> tuple[socket.socket, socket.socket]:
        pair = socketpair()
        made.extend(pair)
        return pair

    monkeypatch.setattr(socket, "socketpair", noted)
    return made


def test_a_caller_is_not_blamed_where_no_process_can_be_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ends: list[socket.socket]
) -> None:
    decoder, data = PictureDecoder(PictureSettings(decode_limit_s=60)), make.picture("PNG")
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", str(tmp_path / "gone"))
        with pytest.raises(NoDecoder):
            decoded(decoder, data)
    assert [end.fileno() for end in ends] == [-1, -1], "a descriptor is left open"
    assert decoded(decoder, data).mode == "RGB"
    decoder.close()


LIMITS = PictureSettings(decode_limit_s=60)
PIXELS = 2000 * 1500 * 3
LOUD = "tests.support.loud_decoder"


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    decoders = DecoderPool(PICTURE, "shared.media.decode_picture", LIMITS)
    yield decoders
    decoders.close()


def pixels_of(pool: DecoderPool, data: bytes) -> bytearray:
    return pool.decode(data, None, **decoding(inspect(data, LIMITS, None), Room(4000, 1e8))).data


@contextmanager
def killed_behind_its_answer(times: int) -> Iterator[list[int]]:
    """The children started in the block are killed between their answers and what follows, so many times;
    noted is how often something was decoded.
    """
    before, begun = set(psutil.Process().children()), list[int]()
    read = DecoderProcess._receive

    def killing(process: DecoderProcess, length: int) -> bytearray:
        begun.extend([1] * (length == PIXELS))
        if length == PIXELS and len(begun) <= times:
            for child in set(psutil.Process().children()) - before:
                child.kill()
        return read(process, length)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DecoderProcess, "_receive", killing)
        yield begun


def decoded_while_killed(pool: DecoderPool, times: int) -> tuple[int, int]:
    """The bytes of a picture whose decoder is killed on its way so many times;
    and how often it was decoded.
    """
    with killed_behind_its_answer(times) as begun:
        return len(pixels_of(pool, make.picture("PNG", (2000, 1500)))), len(begun)


def test_a_file_whose_decoder_somebody_kills_is_decoded_by_another(pool: DecoderPool) -> None:
    assert decoded_while_killed(pool, times=1) == (PIXELS, 2)


def test_a_file_that_kills_every_decoder_is_refused_and_not_tried_for_ever(pool: DecoderPool) -> None:
    with pytest.raises(CallerError, match="died of it"):
        decoded_while_killed(pool, times=100)
    assert decoded_while_killed(pool, times=0) == (PIXELS, 1)


@pytest.fixture
def loud() -> Iterator[DecoderPool]:
    decoders = DecoderPool(PICTURE, LOUD, LIMITS)
    yield decoders
    decoders.close()


def said_about(loud: DecoderPool, data: bytes) -> bytes:
    return bytes(loud.decode(data, None).data)


def test_a_hostile_file_writes_nothing_into_the_log_however_much_its_decoder_says(
    loud: DecoderPool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert [said_about(loud, b"broken") for _ in range(3)] == [b"RGB"] * 3
    assert (capfd.readouterr().err, caplog.messages) == ("", [])


def test_an_operator_reads_in_one_line_what_a_decoder_died_of(
    loud: DecoderPool, caplog: pytest.LogCaptureFixture
) -> None:
    said_about(loud, b"broken")
    with pytest.raises(CallerError, match="died of it"):
        said_about(loud, DEADLY)
    assert [line.message for line in caplog.records] == ["a decoder died"] * 2, "tried again once"
    words = "note: a frame is broken\nthe heap is broken, too"
    assert vars(caplog.records[0])["fields"] == {"ended": -signal.SIGABRT, "said": words}


def test_an_operator_reads_why_no_decoder_starts(caplog: pytest.LogCaptureFixture) -> None:
    nothing = DecoderPool(PICTURE, "worker.media.nothing", LIMITS)
    with pytest.raises(NoDecoder):
        said_about(nothing, b"")
    (line,) = caplog.records
    assert line.message == "a decoder did not start"
    assert "No module named 'worker.media.nothing'" in vars(line)["fields"]["said"]
