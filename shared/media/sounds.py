"""What a sound file says about itself, read from its structure alone: WAV, FLAC and MP3.

As for pictures: no decoder runs here, every loop is bounded, and what headers promise is checked before
anything allocates for it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from shared.errors import CallerError
from shared.media import mp3
from shared.media.binary import integer_at
from shared.media.mp3 import Mp3
from shared.request import Request
from shared.settings import SoundSettings

SoundFormat = Literal["WAV", "FLAC", "MP3"]
MIN_RATE, MAX_RATE = 4_000, 192_000
MAX_CHANNELS = 8
# The part of a decoder's memory that is not samples: the file, the resampler and its library.
BESIDE_SAMPLES_MB = 48
# Each sample as it is decoded, mixed and resampled.
BYTES_PER_SAMPLE = 12
MAX_WAV_CHUNKS = 1_000
# The first bytes of a FLAC, which tell all that is needed.
FLAC_HEAD = 42
# Who writes to a pipe claims about as much as a header can: 2 or 4 GiB.
STREAMED = 2**30
# Some writers count their header in; that much of a sound may be missing at its end.
SPARE_S = 0.1
# PCM, float, A-law, mu-law, and what says in an extension which of them it is.
WAV_CODINGS = frozenset({1, 3, 6, 7, 0xFFFE})


@dataclass(frozen=True)
class SoundInfo:
    """`frames` are samples of one channel; `param` names where in the request the sound stood; `mp3` is what
    was read of one.
    """

    format: SoundFormat
    rate: int
    channels: int
    frames: int
    param: str | None = field(default=None, compare=False)
    mp3: Mp3 | None = field(default=None, compare=False, repr=False)

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    @property
    def memory(self) -> int:
        """Bytes that decoding it takes, about."""
        return self.frames * self.channels * BYTES_PER_SAMPLE


class MalformedError(Exception):
    """The structure is not that of a whole sound; the message names what is wrong."""


def inspect(data: bytes, limits: SoundSettings, param: str | None) -> SoundInfo:
    """Read the headers of one sound. Raises CallerError `payload_too_large`, `invalid_audio`."""
    if len(data) > limits.max_mb * 2**20:
        raise CallerError(
            "payload_too_large", f"A sound may have at most {limits.max_mb:g} MiB.", param=param
        )
    try:
        info = _read(data, limits)
        _check(info, limits)
    except IndexError:
        raise invalid("it is cut short", param) from None
    except MalformedError as error:
        raise invalid(str(error), param) from None
    return replace(info, param=param)


def decodable(data: bytes, info: SoundInfo) -> bytes:
    """The file that `inspect` read, made fit for a decoder: what its header leaves open or gets wrong is
    put right, and tags are left out.
    """
    if info.mp3 is not None:
        return mp3.rebuilt(data, info.mp3)
    if info.format == "FLAC":
        return data[_flac_at(data) :]
    at, _ = _wav_samples(data)
    return data[: at + 4] + b"\xff" * 4 + data[at + 8 :] if _unpatched(data, at) else data


def invalid(why: str, param: str | None) -> CallerError:
    return CallerError("invalid_audio", f"The sound cannot be used: {why}.", param=param)


@contextmanager
def refused_as_sound() -> Iterator[None]:
    """Turns the address guard's refusal of a picture's URL into one of a sound's. Raises CallerError."""
    try:
        yield
    except CallerError as error:
        code = "invalid_audio" if error.code == "invalid_image_url" else error.code
        raise CallerError(code, error.message, param=error.param) from None


def check_count(sounds: Sequence[str], limits: SoundSettings) -> None:
    """`sounds` are their places. Raises CallerError `invalid_audio` naming the first that is one too many."""
    if len(sounds) > limits.max_count:
        message = f"The request has {len(sounds)} sounds; at most {limits.max_count} are accepted."
        raise CallerError("invalid_audio", message, param=sounds[limits.max_count])


def check_heard(request: Request, rate: int | None) -> None:
    """`rate` is what the model listens at, 0 where it does not listen, None before anybody said so.

    Raises CallerError `unsupported_parameter`.
    """
    if request.sounds and rate == 0:
        message = f"The model {request.model} takes no audio."
        at = request.sounds[0].param or "messages"
        raise CallerError("unsupported_parameter", message, param=at)


def _read(data: bytes, limits: SoundSettings) -> SoundInfo:
    if not data:
        raise MalformedError("it is empty")
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _read_wav(data)
    if (flac := _flac_at(data)) is not None:
        return _read_flac(data[flac : flac + FLAC_HEAD])
    if data[:3] == b"ID3" or mp3.SYNC.match(data):
        return _read_mp3(data, limits.max_s)
    raise MalformedError("it is not a WAV, FLAC or MP3")


def _flac_at(data: bytes) -> int | None:
    """Where a FLAC begins, behind tags or without any; None where the file is none."""
    at = mp3.past_tags(data)
    return at if data[at : at + 4] == b"fLaC" else None


def _check(info: SoundInfo, limits: SoundSettings) -> None:
    if not MIN_RATE <= info.rate <= MAX_RATE:
        raise MalformedError(f"it has {info.rate} samples a second; {MIN_RATE} to {MAX_RATE} are accepted")
    if not 1 <= info.channels <= MAX_CHANNELS:
        raise MalformedError(f"it has {info.channels} channels; 1 to {MAX_CHANNELS} are accepted")
    if not info.frames:
        raise MalformedError("nothing is to be heard in it")
    if info.seconds > limits.max_s:
        raise MalformedError(f"it is longer than {limits.max_s:g} s")
    if info.memory > (limits.decode_memory_mb - BESIDE_SAMPLES_MB) * 2**20:
        raise MalformedError("decoding it takes more memory than a decoder may have")


def _read_wav(data: bytes) -> SoundInfo:
    at, (coding, channels, rate, block) = _wav_samples(data)
    if coding not in WAV_CODINGS or not block or not rate:
        raise MalformedError("its samples are in a coding that is not accepted")
    rest = len(data) - at - 8
    length = rest if _unpatched(data, at) else integer_at(data, at + 4, 4, "little")
    said = 8 + integer_at(data, 4, 4, "little")
    if rest + rate * block * SPARE_S < length < STREAMED and len(data) < said < STREAMED:
        raise MalformedError("it is cut short")
    length = min(length, rest)
    return SoundInfo("WAV", rate, channels, length // block)


def _wav_samples(data: bytes) -> tuple[int, tuple[int, ...]]:
    """Where the chunk of samples begins; and their coding, channels, rate and bytes of all channels.

    RIFF: chunks of even length. A length that streams could not know yet ends with the file.
    """
    at, coded = 12, None
    for _ in range(MAX_WAV_CHUNKS):
        kind, length = data[at : at + 4], integer_at(data, at + 4, 4, "little")
        if kind == b"fmt ":
            coded = tuple(
                integer_at(data, at + 8 + place, size, "little")
                for place, size in ((0, 2), (2, 2), (4, 4), (12, 2))
            )
        elif kind == b"data":
            if coded is None:
                raise MalformedError("its header is missing")
            return at, coded
        at += 8 + length + length % 2
    raise MalformedError("it has too many chunks")


def _unpatched(data: bytes, at: int) -> bool:
    """Whether the chunk of samples at a place only claims to be empty: its writer never fixed the header."""
    whole = 8 + integer_at(data, 4, 4, "little")
    return integer_at(data, at + 4, 4, "little") == 0 and (whole <= at + 8 or whole > len(data))


def _read_flac(data: bytes) -> SoundInfo:
    """RFC 9639: the first block of metadata tells all."""
    if data[4] & 0x7F or integer_at(data, 5, 3, "big") != 34:
        raise MalformedError("its header is damaged")
    packed = integer_at(data, 18, 8, "big")
    rate, channels, frames = packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1
    if not rate or not frames:
        raise MalformedError("it does not say how long it is")
    return SoundInfo("FLAC", rate, channels, frames)


def _read_mp3(data: bytes, max_s: float) -> SoundInfo:
    try:
        found = mp3.read(data, max_s)
    except mp3.DamagedError as error:
        raise MalformedError(str(error)) from None
    if not found.frames:
        raise MalformedError("it is not a WAV, FLAC or MP3")
    first = found.frames[0]
    return SoundInfo("MP3", first.rate, first.channels, found.samples, mp3=found)
