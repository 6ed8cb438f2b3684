"""What is checked of a sound before a decoder sees it: its format by its first bytes, and its size.

No decoder runs here. `worker.media.sound_decoder` finds out the rest, in a process of its own.
"""

from shared.media.kinds import Kind
from shared.settings import SoundSettings

# 128 kbit/s, what most encoders write by default.
MP3_BYTES_PER_S = 16_000
# 16 kHz, one channel of 16 bits: what most speech is recorded at.
WAV_BYTES_PER_S = 32_000
# Bytes of samples that a WAV written to a pipe announces, or more: GStreamer this, espeak, SoX and arecord
# about 2 GiB, FFmpeg the largest number.
PIPED_BYTES = 0x7FFF_0000
# Some programs count the header, too, or whole buffers.
WAV_SLACK_BYTES = 4_096
MAX_WAV_CHUNKS = 1_000


def sound_format(data: bytes) -> str | None:
    """None if the first bytes are those of no accepted kind. Tags stand before both an MP3 and a FLAC."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "WAV"
    if data[:4] == b"fLaC":
        return "FLAC"
    # Eleven bits of synchronisation, then layer III.
    is_frame = data[:1] == b"\xff" and data[1:2] and data[1] & 0xE6 == 0xE2
    return "MP3" if is_frame or data[:3] == b"ID3" else None


SOUND = Kind(
    "sound",
    "invalid_audio",
    "invalid_audio",
    "a WAV, FLAC or MP3",
    "audio/wav, audio/flac, audio/mpeg",
    sound_format,
)


def check_sound(data: bytes, limits: SoundSettings, param: str | None) -> str:
    """Its format. Raises CallerError `payload_too_large`, `invalid_audio`."""
    kind = SOUND.check(data, limits, param)
    if kind == "WAV" and _is_cut_short(data):
        raise SOUND.invalid("it is cut short", param)
    return kind


def _is_cut_short(wav: bytes) -> bool:
    """Whether it announces more samples than there are: its decoder takes it for a shorter sound."""
    at = 12
    for _ in range(MAX_WAV_CHUNKS):
        kind, size = wav[at : at + 4], int.from_bytes(wav[at + 4 : at + 8], "little")
        at += 8
        if kind == b"data":
            return size < PIPED_BYTES and at + size > len(wav) + WAV_SLACK_BYTES
        at += size + size % 2
    return False


def estimated_s(data: bytes, limits: SoundSettings) -> float:
    """About how many seconds a sound has, for estimates: only a decoder knows, and it refuses longer ones."""
    kind, seconds = sound_format(data), len(data) / MP3_BYTES_PER_S
    if kind == "WAV":
        # Bytes per second, where the header comes first.
        written = int.from_bytes(data[28:32], "little") if data[12:16] == b"fmt " else 0
        seconds = len(data) / (written or WAV_BYTES_PER_S)
    elif kind == "FLAC" and len(data) >= 26:
        # RFC 9639: 20 bits of the rate, 8 of something else, 36 of the frames.
        packed = int.from_bytes(data[18:26], "big")
        seconds = (packed & (1 << 36) - 1) / (packed >> 44 or 1)
    return min(seconds, limits.max_s)
