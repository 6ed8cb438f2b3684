"""A decoder that cannot be started, or that somebody else kills, is no fault of the file."""

import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.media.decoder_process import DecoderPool, DecoderSpec, NoDecoder, UndecodableError
from shared.media.decoder_protocol import PICTURES
from shared.settings import PictureSettings
from tests.support import pictures as make
from tests.support.loud_decoder import DEADLY, SHORT
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


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    decoders = DecoderPool(DecoderSpec("shared.media.decode_picture", (60.0, 512, 100_000_000), 60.0))
    yield decoders
    decoders.close()


def decoded_while_killed(pool: DecoderPool, times: int) -> tuple[int, int]:
    """The bytes of a picture, more than a window holds, whose decoder is killed on its way so many times;
    and how often it was decoded.
    """
    size, data = (2000, 1500), make.picture("PNG", (2000, 1500))
    before, begun = set(psutil.Process().children()), []

    def killing(width: int, height: int) -> int:
        begun.append(1)
        if len(begun) <= times:
            for child in set(psutil.Process().children()) - before:
                child.kill()
        return width * height * 3

    head = PICTURES.request.pack(b"PNG", *size, *size, len(data))
    _, pixels = pool.decode(head, data, PICTURES.reply, killing)
    return len(pixels), len(begun)


def test_a_python_without_memfd_decodes_as_well(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As uv's and conda's."""
    monkeypatch.delattr("os.memfd_create")
    assert decoded_while_killed(pool, times=0) == (2000 * 1500 * 3, 1)


def test_a_decoder_that_sends_less_than_it_said_shows_nothing_of_a_file_before() -> None:
    decoders = DecoderPool(DecoderSpec("tests.support.loud_decoder", (), 60.0), 1)

    def shown(data: bytes) -> bytearray:
        head = PICTURES.request.pack(b"PNG", 1, 1, 1, 1, len(data))
        return decoders.decode(head, data, PICTURES.reply, lambda width, height: width * height * 3)[1]

    assert shown(b"whole") == b"RGB"
    with pytest.raises(UndecodableError, match="died of it"):
        shown(SHORT)
    decoders.close()


def test_a_file_whose_decoder_somebody_kills_is_decoded_by_another(pool: DecoderPool) -> None:
    assert decoded_while_killed(pool, times=1) == (2000 * 1500 * 3, 2)


def test_a_file_that_kills_every_decoder_is_refused_and_not_tried_for_ever(pool: DecoderPool) -> None:
    with pytest.raises(UndecodableError, match="died of it"):
        decoded_while_killed(pool, times=100)
    assert decoded_while_killed(pool, times=0) == (2000 * 1500 * 3, 1)


def test_a_decoder_that_dies_behind_its_answer_leaves_nothing_open(
    pool: DecoderPool, ends: list[socket.socket]
) -> None:
    data, before = make.picture("PNG", (1, 1)), set(psutil.Process().children())

    def killing(width: int, height: int) -> int:
        ends[0].recv(width * height * 3, socket.MSG_PEEK | socket.MSG_WAITALL)
        for child in set(psutil.Process().children()) - before:
            child.kill()
            child.wait()
        return width * height * 3

    head = PICTURES.request.pack(b"PNG", 1, 1, 1, 1, len(data))
    _, pixels = pool.decode(head, data, PICTURES.reply, killing)
    assert (len(pixels), ends[0].fileno()) == (3, -1)


@pytest.fixture
def loud() -> Iterator[DecoderPool]:
    decoders = DecoderPool(DecoderSpec("tests.support.loud_decoder", (), 60.0))
    yield decoders
    decoders.close()


def said_about(loud: DecoderPool, data: bytes) -> bytes:
    head = PICTURES.request.pack(b"PNG", 1, 1, 1, 1, len(data))
    _, pixels = loud.decode(head, data, PICTURES.reply, lambda width, height: width * height * 3)
    return bytes(pixels)


def test_a_hostile_file_writes_nothing_into_the_log_however_much_its_decoder_says(
    loud: DecoderPool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert [said_about(loud, b"broken") for _ in range(3)] == [b"RGB"] * 3
    assert (capfd.readouterr().err, caplog.messages) == ("", [])


def test_an_operator_reads_in_one_line_what_a_decoder_died_of(
    loud: DecoderPool, caplog: pytest.LogCaptureFixture
) -> None:
    said_about(loud, b"broken")
    with pytest.raises(UndecodableError, match="died of it"):
        said_about(loud, DEADLY)
    assert [line.message for line in caplog.records] == ["a decoder died"] * 2, "tried again once"
    words = "note: a frame is broken\nthe heap is broken, too"
    assert vars(caplog.records[0])["fields"] == {"ended": -signal.SIGABRT, "said": words}


def test_an_operator_reads_why_no_decoder_starts(caplog: pytest.LogCaptureFixture) -> None:
    nothing = DecoderPool(DecoderSpec("worker.media.nothing", (), 60.0))
    with pytest.raises(NoDecoder):
        said_about(nothing, b"")
    (line,) = caplog.records
    assert line.message == "a decoder did not start"
    assert "No module named worker.media.nothing" in vars(line)["fields"]["said"]
