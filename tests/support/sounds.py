"""Sounds good and hostile, made from nothing."""

import io
import math
import struct
from array import array

import soundfile


def wave(seconds: float = 1.0, rate: int = 16_000, hertz: float = 440.0) -> "array[float]":
    """A tone of one channel."""
    return array(
        "f", (0.4 * math.sin(2 * math.pi * hertz * at / rate) for at in range(round(seconds * rate)))
    )


def sound(
    kind: str = "WAV",
    seconds: float = 1.0,
    rate: int = 16_000,
    channels: int = 1,
    hertz: float = 440.0,
    coding: str | None = None,
) -> bytes:
    """A tone, the same in each channel."""
    out = io.BytesIO()
    samples = [[value] * channels for value in wave(seconds, rate, hertz)]
    soundfile.write(out, samples, rate, format=kind, subtype=coding)
    return out.getvalue()


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def wav_head(coding: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16) -> tuple[bytes, bytes]:
    block = channels * bits // 8
    return b"fmt ", struct.pack("<HHIIHH", coding, channels, rate, rate * block, block, bits)


def flac_head(rate: int = 16_000, channels: int = 1, frames: int = 16_000, bits: int = 16) -> bytes:
    """A FLAC that says this of itself and holds nothing."""
    packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | frames
    info = struct.pack(">HHxxxxxx", 4096, 4096) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC" + bytes([0x80]) + len(info).to_bytes(3, "big") + info
