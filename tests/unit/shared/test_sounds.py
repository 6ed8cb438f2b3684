"""What is checked of a sound before a decoder sees it, and how long estimates take it to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CallerError
from shared.media.files import check_accepts
from shared.media.sounds import check_sound, estimated_s
from shared.request import Message, Request, Sound, Text
from shared.settings import SoundSettings
from tests.support import sounds as make

LIMITS = SoundSettings()
PARAM = "messages[0].content[0]"


def refusal(data: bytes, limits: SoundSettings = LIMITS) -> CallerError:
    with pytest.raises(CallerError) as refused:
        check_sound(data, limits, PARAM)
    assert refused.value.param == PARAM
    return refused.value


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
def test_a_sound_is_known_by_its_first_bytes(kind: str) -> None:
    assert check_sound(make.sound(kind), LIMITS, None) == kind


@pytest.mark.parametrize(
    "data", [make.piped_mp3(1.0), make.tag(128) + make.sound("FLAC"), make.tag(128) + make.sound("MP3")]
)
def test_a_stream_without_tags_and_a_sound_behind_them_is_no_unknown_file(data: bytes) -> None:
    assert check_sound(data, LIMITS, None)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89PNG\r\n\x1a\n", b"OggS" + bytes(60), b"RIFF0000WEBPVP8 ", b"\xff\xd8\xff", b"\xff", b"no"],
)
def test_a_file_of_another_kind_is_refused(data: bytes) -> None:
    error = refusal(data)
    assert error.code == "invalid_audio"
    assert ("not a WAV, FLAC or MP3" if data else "empty") in error.message


def announcing(size: int) -> bytes:
    """A WAV of two seconds behind another chunk, whose samples' chunk says that it has such a size."""
    whole = make.riff((b"LIST", b"odd"), make.wav_head(), (b"data", bytes(64_000)))
    return whole.replace(b"data\0\xfa\0\0", b"data" + size.to_bytes(4, "little"))


def test_a_wav_that_is_cut_short_is_not_answered_as_a_shorter_one() -> None:
    assert "it is cut short" in refusal(make.sound("WAV", 2.0)[:40_000]).message
    assert "it is cut short" in refusal(announcing(96_000)).message


@pytest.mark.parametrize("size", [0, 64_044, 0x7FFF_0000, 0x7FFF_F000, 0x8000_0000, 0xFFFF_FFFF])
def test_a_wav_from_a_pipe_or_with_its_header_counted_is_a_sound(size: int) -> None:
    assert check_sound(announcing(size), LIMITS, None) == "WAV"


def test_a_file_that_is_too_large_is_refused_before_it_is_read() -> None:
    assert refusal(make.sound(), SoundSettings(max_mb=0.01)).code == "payload_too_large"
    size = len(make.sound()) / 2**20
    assert check_sound(make.sound(), SoundSettings(max_mb=size), None)


@pytest.mark.parametrize(
    ("kind", "rate", "channels"),
    [("WAV", 16_000, 1), ("WAV", 44_100, 2), ("FLAC", 16_000, 1), ("FLAC", 44_100, 2)],
)
def test_estimates_take_a_sound_to_be_as_long_as_its_header_says(kind: str, rate: int, channels: int) -> None:
    assert abs(estimated_s(make.sound(kind, 2.0, rate, channels), LIMITS) - 2) < 0.01


def test_estimates_take_an_mp3_to_have_the_usual_bitrate() -> None:
    assert estimated_s(b"ID3" + bytes(31_997), LIMITS) == 2


def test_estimates_take_no_sound_to_be_longer_than_one_may_be() -> None:
    assert estimated_s(make.flac_head(frames=2**36 - 1), LIMITS) == LIMITS.max_s


@given(st.binary(max_size=60), st.sampled_from([b"", b"RIFF0000WAVEfmt ", b"fLaC", b"ID3", b"\xff\xfb\x90d"]))
def test_any_bytes_have_some_length_for_an_estimate(body: bytes, head: bytes) -> None:
    assert 0 <= estimated_s(head + body, LIMITS) <= LIMITS.max_s


@pytest.mark.parametrize(("rate", "accepted"), [(16_000, True), (None, True), (0, False)])
def test_a_model_that_takes_no_sounds_is_known_by_its_rate(rate: int | None, accepted: bool) -> None:
    parts = (Text(text="What is said?"), Sound(digest="a" * 64, param=PARAM))
    request = Request(model="org/m", messages=(Message(role="user", parts=parts),))
    if accepted:
        check_accepts(request, rate, None)
    else:
        with pytest.raises(CallerError, match="org/m takes no audio") as refused:
            check_accepts(request, rate, None)
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", PARAM)
