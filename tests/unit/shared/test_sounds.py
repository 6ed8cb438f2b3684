"""What a sound file says of itself, and what is refused before a decoder sees it."""

import io

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CallerError
from shared.media.sounds import check_heard, inspect
from shared.request import Message, Request, Sound, Text
from shared.settings import SoundSettings
from tests.support import sounds as make

LIMITS = SoundSettings()
AT = "messages[0].content[0]"


def refused(data: bytes, limits: SoundSettings = LIMITS) -> CallerError:
    with pytest.raises(CallerError) as refusal:
        inspect(data, limits, AT)
    assert refusal.value.param == AT
    return refusal.value


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
@pytest.mark.parametrize(
    ("rate", "channels"), [(16_000, 1), (44_100, 2), (48_000, 1), (22_050, 2), (8_000, 1)]
)
def test_rate_channels_and_length_are_what_a_decoder_finds(kind: str, rate: int, channels: int) -> None:
    data = make.sound(kind, 1.5, rate, channels)
    info, found = inspect(data, LIMITS, None), soundfile.info(io.BytesIO(data))
    assert (info.format, info.rate, info.channels) == (kind, found.samplerate, found.channels)
    assert abs(info.seconds - found.duration) < 0.001


@pytest.mark.parametrize(
    "coding", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
def test_wav_is_read_in_every_coding_that_decoders_read(coding: str) -> None:
    assert inspect(make.sound(coding=coding), LIMITS, None).frames == 16_000


TAGS = {
    "one": make.tag(128),
    "two": make.tag(128) + make.tag(7),
    "with a footer": make.tag(128, footer=True),
}


@pytest.mark.parametrize("kind", ["FLAC", "MP3"])
@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS.keys())
def test_a_sound_behind_tags_is_no_unknown_file(kind: str, tags: bytes) -> None:
    data = make.sound(kind)
    assert inspect(tags + data, LIMITS, None) == inspect(data, LIMITS, None)


def test_chunks_before_samples_are_skipped() -> None:
    listed = make.riff((b"LIST", b"odd"), make.wav_head(), (b"data", bytes(640)))
    assert inspect(listed, LIMITS, None).frames == 320


@pytest.mark.parametrize(
    "whole", [b"\xff" * 4, bytes(4), b"\x24\0\0\0"], ids=["endless", "nothing", "a head"]
)
@pytest.mark.parametrize("length", [b"\xff" * 4, bytes(4)], ids=["endless", "nothing"])
def test_a_wav_whose_length_was_not_known_yet_is_as_long_as_its_file(length: bytes, whole: bytes) -> None:
    streamed = make.riff(make.wav_head(), (b"data", bytes(640)))
    at = streamed.index(b"data") + 4
    data = streamed[:4] + whole + streamed[8:at] + length + streamed[at + 4 :]
    assert inspect(data, LIMITS, None).frames == 320


def test_a_wav_whose_writer_counted_its_header_as_sound_is_taken() -> None:
    data = make.sound()
    at = data.index(b"data") + 4
    more = (int.from_bytes(data[at : at + 4], "little") + 44).to_bytes(4, "little")
    assert inspect(data[:at] + more + data[at + 4 :], LIMITS, None).seconds == 1


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_clip_of_the_longest_length_is_taken_as_mp3_too(rate: int) -> None:
    assert inspect(make.sound("MP3", 30.0, rate), LIMITS, None).seconds == 30


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "not a WAV, FLAC or MP3"),
        (b"OggS" + bytes(60), "not a WAV, FLAC or MP3"),
        (b"\xff\xfb", "cut short|not a WAV"),
        (make.sound("MP3")[:40], "not a WAV"),
        (make.sound("FLAC")[:20], "cut short"),
        (make.sound()[:30], "cut short"),
        (make.sound()[:-16_000], "cut short"),
        (make.riff(make.wav_head()), "cut short"),
        (make.riff((b"data", bytes(64))), "header is missing"),
        (make.riff(make.wav_head(coding=2), (b"data", bytes(64))), "coding"),
        (make.riff(make.wav_head(bits=0), (b"data", bytes(64))), "coding"),
        (make.riff(make.wav_head(), (b"data", b"")), "nothing is to be heard"),
        (make.riff(make.wav_head(), (b"data", b""), (b"LIST", bytes(64))), "nothing is to be heard"),
        (make.sound("MP3", 0.5) + make.sound("MP3", 0.5, 8_000), "sampling rate or its channels change"),
        (make.riff(*[(b"LIST", b"")] * 1_001), "too many chunks"),
        (make.riff(make.wav_head(rate=1), (b"data", bytes(64))), "samples a second"),
        (make.riff(make.wav_head(channels=64), (b"data", bytes(640))), "channels"),
        (make.flac_head(frames=0), "how long"),
        (make.flac_head(frames=31 * 16_000), "longer than 30 s"),
        (make.flac_head(rate=192_000, channels=8, frames=29 * 192_000), "memory"),
        (b"fLaC\x84" + bytes(40), "damaged"),
        (make.sound("MP3", 31.5, 8_000), "longer than 30 s"),
        (make.riff(make.wav_head(), (b"data", bytes(31 * 32_000))), "longer than 30 s"),
    ],
)
def test_what_is_no_sound_or_too_much_of_one_is_refused(data: bytes, why: str) -> None:
    error = refused(data)
    assert error.code == "invalid_audio"
    with pytest.raises(CallerError, match=why):
        inspect(data, LIMITS, AT)


def test_a_file_that_is_too_large_is_refused_before_it_is_read() -> None:
    assert refused(make.sound(), SoundSettings(max_mb=0.01)).code == "payload_too_large"


def told(data: bytes) -> str:
    """How a file was refused, "" where it is a sound."""
    try:
        return "" if 0 < inspect(data, LIMITS, None).seconds <= LIMITS.max_s else "nonsense"
    except CallerError as error:
        return error.code


@given(st.binary(max_size=200), st.sampled_from([b"", b"RIFF0000WAVE", b"fLaC", b"ID3", b"\xff\xfb\x90d"]))
def test_no_bytes_are_anything_but_a_sound_or_refused(body: bytes, head: bytes) -> None:
    assert told(head + body) in ("", "invalid_audio")


@given(st.data())
def test_a_damaged_file_is_a_sound_or_refused(data: st.DataObject) -> None:
    whole = bytearray(make.sound(data.draw(st.sampled_from(["WAV", "FLAC", "MP3"])), 0.2, 8_000))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, min(len(whole), 400) - 1))] = data.draw(st.integers(0, 255))
    assert told(bytes(whole)) in ("", "invalid_audio")


@pytest.mark.parametrize(("rate", "taken"), [(16_000, True), (None, True), (0, False)])
def test_a_model_that_does_not_listen_is_known_by_its_rate(rate: int | None, taken: bool) -> None:
    parts = (Text(text="What is said?"), Sound(digest="a" * 64, param=AT))
    request = Request(model="org/m", messages=(Message(role="user", parts=parts),))
    if taken:
        check_heard(request, rate)
    else:
        with pytest.raises(CallerError, match="org/m takes no audio") as refusal:
            check_heard(request, rate)
        assert (refusal.value.code, refusal.value.param) == ("unsupported_parameter", AT)
