"""Sounds are decoded in a process of their own, whole or not at all, and never end their worker."""

import io
import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import CallerError
from shared.media.decoder_protocol import UnusableError
from shared.settings import SoundSettings
from tests.support import sounds as make
from worker.media.decode_sound import decode
from worker.media.sound_decoder import SoundDecoder

RATE = 16_000


@pytest.fixture(scope="module")
def decoder() -> Iterator[SoundDecoder]:
    sounds = SoundDecoder(SoundSettings(max_s=10, decode_limit_s=60))
    yield sounds
    sounds.close()


def decoded(decoder: SoundDecoder, data: bytes) -> list[float]:
    (samples,) = decoder.decode([data], RATE)
    return list(samples)


def refusal(decoder: SoundDecoder, data: bytes) -> CallerError:
    with pytest.raises(CallerError) as refused:
        decoder.decode([data], RATE)
    return refused.value


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1), (48_000, 2)])
def test_a_sound_is_decoded_to_mono_at_the_models_rate(
    decoder: SoundDecoder, kind: str, rate: int, channels: int
) -> None:
    samples = decoded(decoder, make.sound(kind, 1.0, rate, channels, hertz=500.0))
    assert abs(len(samples) / RATE - 1.0) < 0.001
    middle = samples[4_000:12_000]
    crossings = sum(a <= 0 < b for a, b in pairwise(middle))
    assert abs(crossings - 250) <= 1, "half a second of 500 Hz"
    assert abs(max(middle) - 0.4) < 0.05


@pytest.mark.parametrize(
    "coding", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
def test_a_wav_of_every_common_coding_is_decoded(decoder: SoundDecoder, coding: str) -> None:
    assert len(decoded(decoder, make.sound(coding=coding))) == RATE


MP3, WAV = make.sound("MP3", 3.0), make.sound(seconds=3.0)
WHOLE = {
    "MP3 with a tag at its end": MP3 + b"TAG" + bytes(125),
    "MP3 with tags": make.tag(128) + MP3 + make.ape_tag(16_000),
    "MP3 with zeros at its end": MP3 + bytes(102_000),
    "FLAC after tags": make.tag(128) + make.sound("FLAC", 3.0),
    "WAV from a pipe": WAV[:4] + b"\xff" * 4 + WAV[8:40] + b"\xff" * 4 + WAV[44:],
    "WAV with another chunk": make.riff((b"LIST", b"odd"), make.wav_head(), (b"data", WAV[44:])),
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
def test_tags_and_lengths_left_open_cost_no_part_of_a_sound(decoder: SoundDecoder, data: bytes) -> None:
    assert abs(len(decoded(decoder, data)) / RATE - 3) < 0.01


def test_a_stream_of_mp3_frames_of_one_bitrate_is_decoded_whole(decoder: SoundDecoder) -> None:
    assert abs(len(decoded(decoder, make.streamed_mp3(9.0))) / RATE - 9) < 0.1


def test_samples_at_the_models_own_rate_are_those_of_the_file(decoder: SoundDecoder) -> None:
    assert decoded(decoder, make.sound(coding="FLOAT")) == list(make.wave())


def test_the_channels_are_mixed(decoder: SoundDecoder) -> None:
    both = make.riff(make.wav_head(channels=2), (b"data", b"\x00\x40\x00\xc0" * 1_600))
    assert all(math.isclose(value, 0.0, abs_tol=1e-6) for value in decoded(decoder, both))


UNUSABLE = {
    "an unknown kind": (b"OggS" + bytes(60), "not a WAV, FLAC or MP3"),
    "no MP3": (b"ID3" + bytes(300), "could not be decoded"),
    "another kind after a tag": (make.tag(128) + make.sound("AIFF"), "not a WAV, FLAC or MP3"),
    "a FLAC of nothing": (make.flac_head(), "cut short"),
    "a FLAC that is cut short": (make.sound("FLAC", 3.0)[:20_000], "could not be decoded"),
    "a FLAC of an unknown length": (make.flac_head(frames=0), "how long it is"),
    "an MP3 that is cut short": (MP3[:2_000], "cut short"),
    "MP3s that were joined": (MP3 + MP3, "several were joined"),
    "an MP3 that does not say how long it is": (make.piped_mp3(3.0), "how long it is"),
    "a WAV without samples": (make.riff(make.wav_head(), (b"data", b"")), "nothing is to be heard"),
    "a WAV without a header": (make.riff((b"data", bytes(64))), "could not be decoded"),
    "a WAV of an unknown coding": (
        make.riff(make.wav_head(coding=2), (b"data", bytes(64))),
        "could not be decoded",
    ),
    "samples that are no numbers": (
        make.riff(make.wav_head(coding=3, bits=32), (b"data", b"\x00\x00\xc0\x7f" * 100)),
        "louder than any sound",
    ),
    "a WAV that is too long": (make.sound(seconds=10.1), "longer than 10 s"),
    "an MP3 that is too long": (make.sound("MP3", 10.1), "longer than 10 s"),
    "one sample a second": (make.riff(make.wav_head(rate=1), (b"data", bytes(64))), "longer than 10 s"),
}


@pytest.mark.parametrize(("data", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_sound_that_cannot_be_decoded_whole_is_refused_by_its_place(
    decoder: SoundDecoder, data: bytes, reason: str
) -> None:
    error = refusal(decoder, data)
    assert (error.code, error.param) == ("invalid_audio", "sounds[0]")
    assert reason in error.message
    assert decoded(decoder, make.sound())


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
def test_a_sound_of_the_longest_length_is_accepted(decoder: SoundDecoder, kind: str) -> None:
    assert len(decoded(decoder, make.sound(kind, 10.0, 44_100))) == 10 * RATE


def test_a_sound_has_no_more_than_its_header_announces(decoder: SoundDecoder) -> None:
    honest = make.sound("FLAC", 5.0)
    at = honest.index(b"fLaC") + 8 + 10
    packed = int.from_bytes(honest[at : at + 8], "big") >> 36 << 36 | 16_000
    assert len(decoded(decoder, honest[:at] + packed.to_bytes(8, "big") + honest[at + 8 :])) == 16_000


def test_a_bomb_is_refused_for_its_length_and_takes_no_memory_for_the_rest() -> None:
    """Eleven seconds of silence in 8 channels at 192 kHz are 68 MB of samples."""
    bomb = io.BytesIO()
    with soundfile.SoundFile(bomb, "w", 192_000, 8, "PCM_16", format="FLAC") as file:
        file.write(np.zeros((11 * 192_000, 8), np.int16))
    sounds = SoundDecoder(SoundSettings(max_s=10, decode_limit_s=60, decode_memory_mb=64))
    try:
        assert "longer than 10 s" in refusal(sounds, bomb.getvalue()).message
    finally:
        sounds.close()


@given(st.data())
@settings(deadline=None)
def test_a_damaged_file_is_a_sound_or_refused(data: st.DataObject) -> None:
    whole = bytearray(make.sound(data.draw(st.sampled_from(["WAV", "FLAC", "MP3"])), 0.2, 8_000))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, min(len(whole), 400) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UnusableError, soundfile.LibsndfileError, ValueError):
        assert 0 < len(decode(bytes(whole), RATE, 10)) <= 10 * RATE


@pytest.mark.parametrize("sample", [3e38, -3e38, float("nan"), float("inf")])
def test_a_sound_that_no_model_can_compute_with_is_refused_and_not_tried(sample: float) -> None:
    data = io.BytesIO()
    soundfile.write(data, [[sample, sample]] * RATE, RATE, "FLOAT", format="WAV")
    with pytest.raises(UnusableError, match="louder"):
        decode(data.getvalue(), RATE, 10)


def test_too_many_sounds_are_refused_by_the_first_that_is(decoder: SoundDecoder) -> None:
    with pytest.raises(CallerError) as refused:
        decoder.decode([make.sound("FLAC", 0.1)] * 5, RATE)
    assert (refused.value.code, refused.value.param) == ("invalid_audio", "sounds[4]")
