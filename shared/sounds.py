"""What a sound file says about itself, read from its structure alone: WAV, FLAC and MP3.

As of pictures: no decoder runs here, every loop is bounded, and what headers promise is refused before
anything allocates for it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from shared.errors import CallerError
from shared.request import Request
from shared.settings.sounds import SoundSettings

SoundFormat = Literal["WAV", "FLAC", "MP3"]
MIN_RATE, MAX_RATE = 4_000, 192_000
MAX_CHANNELS = 8
# Of a decoder's memory, what is not samples: the file, the resampler and its library.
BESIDE_SAMPLES_MB = 48
# Each sample as it is decoded, mixed and resampled.
BYTES_PER_SAMPLE = 12
MAX_WAV_CHUNKS = 1_000
# PCM, float, A-law, mu-law, and what says in an extension which of them it is.
WAV_CODINGS = frozenset({1, 3, 6, 7, 0xFFFE})
# ISO/IEC 11172-3 and 13818-3, layer III: kbit/s by index, samples a second by index, samples a frame.
MP3_BITRATES = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


@dataclass(frozen=True)
class SoundInfo:
    """`frames` are samples of one channel; `param` names where in the request the sound stood."""

    format: SoundFormat
    rate: int
    channels: int
    frames: int
    param: str | None = field(default=None, compare=False)

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


def invalid(why: str, param: str | None) -> CallerError:
    return CallerError("invalid_audio", f"The sound cannot be used: {why}.", param=param)


@contextmanager
def refused_as_sound() -> Iterator[None]:
    """What the address guard says of a picture's URL, as said of a sound's. Raises CallerError."""
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
    if data[:4] == b"fLaC":
        return _read_flac(data)
    if data[:3] == b"ID3" or (data[0] == 0xFF and data[1] & 0xE0 == 0xE0):
        return _read_mp3(data, limits.max_s)
    raise MalformedError("it is not a WAV, FLAC or MP3")


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


def _number(data: bytes, at: int, length: int, order: Literal["big", "little"] = "little") -> int:
    if at + length > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + length], order)


def _read_wav(data: bytes) -> SoundInfo:
    """RIFF: chunks of even length. A length that streams could not know yet ends with the file."""
    at, coded = 12, None
    for _ in range(MAX_WAV_CHUNKS):
        kind, length = data[at : at + 4], _number(data, at + 4, 4)
        if kind == b"fmt ":
            coded = tuple(
                _number(data, at + 8 + place, size) for place, size in ((0, 2), (2, 2), (4, 4), (12, 2))
            )
        elif kind == b"data":
            if coded is None:
                raise MalformedError("its header is missing")
            coding, channels, rate, block = coded
            if coding not in WAV_CODINGS or not block or not rate:
                raise MalformedError("its samples are in a coding that is not accepted")
            return SoundInfo("WAV", rate, channels, min(length, len(data) - at - 8) // block)
        at += 8 + length + length % 2
    raise MalformedError("it has too many chunks")


def _read_flac(data: bytes) -> SoundInfo:
    """RFC 9639: the first block of metadata tells all."""
    if data[4] & 0x7F or _number(data, 5, 3, "big") != 34:
        raise MalformedError("its header is damaged")
    packed = _number(data, 18, 8, "big")
    rate, channels, frames = packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1
    if not rate or not frames:
        raise MalformedError("it does not say how long it is")
    return SoundInfo("FLAC", rate, channels, frames)


def _read_mp3(data: bytes, max_s: float) -> SoundInfo:
    """Goes from frame to frame, until there is none or it is too long; an MP3 has no other head."""
    at = 0
    if data[:3] == b"ID3":
        at = 10 + sum((data[6 + place] & 0x7F) << 7 * (3 - place) for place in range(4))
    rate = channels = frames = 0
    while (found := _mp3_frame(data, at)) is not None:
        length, samples, own_rate, own_channels = found
        if rate and own_rate != rate:
            break
        rate, channels = own_rate, max(channels, own_channels)
        at, frames = at + length, frames + samples
        if frames > (max_s + 1) * rate:
            break
    if not rate:
        raise MalformedError("it is not a WAV, FLAC or MP3")
    return SoundInfo("MP3", rate, channels, frames)


def _mp3_frame(data: bytes, at: int) -> tuple[int, int, int, int] | None:
    """Bytes, samples, rate and channels of the frame at a place; None where there is no whole one."""
    if at + 4 > len(data) or data[at] != 0xFF:
        return None
    head = _number(data, at, 4, "big")
    version, layer = head >> 19 & 3, head >> 17 & 3
    bitrate, rate = head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or layer != 1 or version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    hertz = MP3_RATES[version][rate]
    whole = version == 3
    bits = MP3_BITRATES[1 if whole else 2][bitrate] * 1000
    samples = 1152 if whole else 576
    length = samples // 8 * bits // hertz + (head >> 9 & 1)
    return (length, samples, hertz, 1 if head >> 6 & 3 == 3 else 2) if at + length <= len(data) else None
