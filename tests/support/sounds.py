"""Sounds good and hostile, made from nothing."""

import io
import math
import random
import struct
from array import array

import numpy as np
import soundfile


def wave(seconds: float = 1.0, rate: int = 16_000, hertz: float = 440.0) -> "array[float]":
    """A tone of one channel."""
    at = np.arange(round(seconds * rate))
    return array("f", (0.4 * np.sin(2 * math.pi * hertz * at / rate)).astype("f").tobytes())


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
    samples = np.array([wave(seconds, rate, hertz)] * channels).T
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


def tag(length: int, *, footer: bool = False) -> bytes:
    """An ID3v2 of so many bytes behind its head, at most 16383."""
    head = bytes([4, 0, 0x10 if footer else 0, 0, 0, length >> 7, length & 0x7F])
    return b"ID3" + head + bytes(length) + (b"3DI" + head if footer else b"")


def ape_tag(length: int) -> bytes:
    return b"APETAGEX\xd0\x07\0\0" + length.to_bytes(4, "little") + bytes(16 + length)


def piped_mp3(seconds: float) -> bytes:
    """As an encoder writes it that cannot go back to its first frame: its bitrates vary, none counts them."""
    out = io.BytesIO()
    # Loud, then silent: what the first frames weigh tells nothing of the others.
    samples = [value * (at % 16_000 < 8_000) for at, value in enumerate(wave(seconds))]
    how = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.3}
    soundfile.write(out, samples, 16_000, **how)
    data = out.getvalue()
    return data[data.index(b"\xff\xf3", 4) :]


def streamed_mp3(seconds: float) -> bytes:
    """As a speech service streams it: frames of one bitrate, and no header that counts them."""
    out = io.BytesIO()
    noise = random.Random(1)  # noqa: S311 - noise for an encoder
    samples = [noise.uniform(-0.1, 0.1) for _ in range(round(seconds * 16_000))]
    how = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.5}
    soundfile.write(out, samples, 16_000, **how)
    data = out.getvalue()
    return data[data.index(b"\xff\xf3", 4) :]
