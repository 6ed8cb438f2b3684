"""Sounds on their way to the model: decoded beside the worker, and never the end of it."""

import io
import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import psutil
import pytest
import soundfile

from shared.blobs import digest
from shared.errors import CallerError
from shared.request import Sound
from shared.settings import SoundSettings
from shared.store.admission import submit
from tests.support import sounds as make
from tests.support.attempt_harness import Workbench
from worker.fair_share import Waiter
from worker.media.decode_sound import decode
from worker.media.sound_decoder import Listener

RATE = 16_000


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    found = Listener(SoundSettings(max_s=10, decode_limit_s=60))
    yield found
    found.close()


def heard(listener: Listener, data: bytes) -> list[float]:
    (samples,) = listener.heard([data], RATE, Waiter(""))
    return list(samples)


def refused(listener: Listener, data: bytes) -> CallerError:
    with pytest.raises(CallerError) as refusal:
        listener.heard([data], RATE, Waiter(""))
    return refusal.value


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1), (48_000, 2)])
def test_a_sound_is_heard_in_mono_at_the_models_rate(
    listener: Listener, kind: str, rate: int, channels: int
) -> None:
    samples = heard(listener, make.sound(kind, 1.0, rate, channels, hertz=500.0))
    assert abs(len(samples) / RATE - 1.0) < (0.2 if kind == "MP3" else 0.001)
    middle = samples[4_000:12_000]
    crossings = sum(a <= 0 < b for a, b in pairwise(middle))
    assert abs(crossings - 250) <= 1, "half a second of 500 Hz"
    assert abs(max(middle) - 0.4) < 0.05


PIPED, NAMED = make.piped_mp3(3.0), make.sound("MP3", 3.0)
TAGGED = make.tag(128) + NAMED + make.ape_tag(300)
WAV = make.sound(seconds=3.0)
WHOLE = {
    "MP3 from a pipe": (PIPED, 3),
    "MP3s joined": (NAMED + NAMED, 6),
    "MP3s with tags joined": (TAGGED + TAGGED, 6),
    "MP3s from a pipe joined": (PIPED + PIPED, 6),
    "MP3 with junk in it": (NAMED[:-50] + bytes(3_000) + NAMED, 6),
    "FLAC behind tags": (make.tag(128) + make.sound("FLAC", 3.0), 3),
    "WAV from a pipe": (WAV[:4] + bytes(4) + WAV[8:40] + bytes(4) + WAV[44:], 3),
}


@pytest.mark.parametrize(("data", "seconds"), WHOLE.values(), ids=WHOLE.keys())
def test_no_sound_loses_its_end_whatever_its_head_says(
    listener: Listener, data: bytes, seconds: float
) -> None:
    assert abs(len(heard(listener, data)) / RATE - seconds) < 0.2


def test_samples_at_the_models_own_rate_are_those_of_the_file(listener: Listener) -> None:
    samples = heard(listener, make.sound(coding="FLOAT"))
    assert samples == list(make.wave())


def test_the_channels_are_mixed(listener: Listener) -> None:
    both = make.riff(make.wav_head(channels=2), (b"data", b"\x00\x40\x00\xc0" * 1_600))
    assert all(math.isclose(value, 0.0, abs_tol=1e-6) for value in heard(listener, both))


@pytest.mark.parametrize(
    "data",
    [
        make.flac_head(),
        make.sound("FLAC")[:400],
        make.riff(make.wav_head(bits=24, coding=3), (b"data", bytes(300))),
        make.riff(make.wav_head(coding=3, bits=32), (b"data", b"\x00\x00\xc0\x7f" * 100)),
    ],
    ids=["nothing in it", "cut short", "no such samples", "no numbers"],
)
def test_what_cannot_be_decoded_is_refused_by_its_place(listener: Listener, data: bytes) -> None:
    error = refused(listener, data)
    assert (error.code, error.param) == ("invalid_audio", "sounds[0]")
    assert heard(listener, make.sound())


def test_more_than_the_headers_announced_is_not_heard(listener: Listener) -> None:
    honest = make.sound("FLAC", 5.0)
    at = honest.index(b"fLaC") + 8 + 10
    packed = int.from_bytes(honest[at : at + 8], "big") >> 36 << 36 | 16_000
    assert len(heard(listener, honest[:at] + packed.to_bytes(8, "big") + honest[at + 8 :])) == 16_000


@pytest.mark.parametrize("announced", [16_000, 80_000])
def test_a_sound_of_another_length_than_announced_is_not_heard_cut_off(announced: int) -> None:
    with pytest.raises(ValueError, match="another sound"):
        decode(announced, RATE, 1, RATE, make.sound(seconds=3.0))


@pytest.mark.parametrize("sample", [3e38, -3e38, float("nan"), float("inf")])
def test_a_sound_that_no_model_can_compute_with_is_refused_and_not_tried(sample: float) -> None:
    data = io.BytesIO()
    soundfile.write(data, [[sample, sample]] * RATE, RATE, "FLOAT", format="WAV")
    with pytest.raises(ValueError, match="louder"):
        decode(RATE, RATE, 2, RATE, data.getvalue())


def test_a_decoder_that_is_killed_is_replaced(listener: Listener) -> None:
    heard(listener, make.sound())
    for child in psutil.Process().children():
        # One of a test before may be about to end.
        with suppress(psutil.NoSuchProcess):
            if "worker.media.decode_sound" in child.cmdline():
                child.kill()
                child.wait()
    assert heard(listener, make.sound())


def test_too_many_sounds_are_refused_by_the_first_that_is(listener: Listener) -> None:
    with pytest.raises(CallerError) as refusal:
        listener.heard([make.sound("FLAC", 0.1)] * 5, RATE, Waiter(""))
    assert (refusal.value.code, refusal.value.param) == ("invalid_audio", "sounds[4]")


def test_a_worker_answers_a_question_with_a_sound(desk: Workbench) -> None:
    data = make.sound("MP3", 1.5)
    name = digest(data)
    desk.blobs.write(name, data)
    placing = desk.placing("What is said?", (Sound(digest=name),), blobs=(name,))
    desk.store.run(submit(placing, desk.settings, uploaded=True))
    desk.attempt()
    result = desk.job(placing.job).result
    assert result is not None
    assert (result.text[:13], result.usage.audio_tokens) == ("What is said?", 1)
    assert result.text.endswith("s]")
