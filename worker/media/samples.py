"""The child process that decodes sounds: a stranger's bytes in on one socket, samples out.

Run as `python -m worker.media.samples <limit_s> <memory_mb>` with a socket as standard input, by `sounds`.
As `pixels` it holds no secrets, may be killed at any moment, and imports nothing else of the project.
"""

import io
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from worker.media.pixels import limit_memory

READY = b"R"
# Announced frames, rate and channels, wanted rate, bytes that follow.
REQUEST = struct.Struct("!QIIII")
# Samples that follow, 4 bytes each; 0: it could not be decoded.
REPLY = struct.Struct("!Q")
# MP3's decoders put up to this many seconds before and behind what was encoded.
SLACK_S = 0.2


def decode(frames: int, rate: int, channels: int, wanted: int, data: bytes) -> "NDArray[np.float32]":
    """Mono samples at the wanted rate, of bytes whose headers announced the rest.

    Raises ValueError where the decoder hears another sound, and whatever it raises itself.
    """
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        if (file.samplerate, file.channels) != (rate, channels):
            raise ValueError("the decoder hears another sound than the headers announced")
        most = frames + int(SLACK_S * rate)
        samples = file.read(most + 1, dtype="float32", always_2d=True)
    if not 0 < len(samples) <= most or not np.isfinite(samples).all():
        raise ValueError("the decoder hears another sound than the headers announced")
    mono = samples[:, 0] if channels == 1 else samples.mean(axis=1, dtype=np.float32)
    resampled: NDArray[np.float32] = mono if rate == wanted else soxr.resample(mono, rate, wanted)
    return resampled


def serve(channel: socket.socket, limit_s: float) -> None:
    """Answer requests until the parent is gone, which shows as an end of input or a ConnectionError."""
    reader = channel.makefile("rb")
    channel.sendall(READY)
    while len(head := reader.read(REQUEST.size)) == REQUEST.size:
        _answer(channel, reader, head, limit_s)


def _answer(channel: socket.socket, reader: BinaryIO, head: bytes, limit_s: float) -> None:
    """Apart from the loop, so that nothing of a sound is kept until the next one comes.

    The alarm ends a decode that no parent watches any more.
    """
    frames, rate, channels, wanted, length = REQUEST.unpack(head)
    data = reader.read(length)
    signal.setitimer(signal.ITIMER_REAL, limit_s + 1)
    try:
        samples = decode(frames, rate, channels, wanted, data).tobytes()
    except Exception:  # The outermost frame of a sound: decoders raise any type, and none may end the child.
        samples = b""
    signal.setitimer(signal.ITIMER_REAL, 0)
    channel.sendall(REPLY.pack(len(samples) // 4))
    channel.sendall(samples)


def main() -> None:
    limit_s, memory_mb = float(sys.argv[1]), int(sys.argv[2])
    limit_memory(memory_mb)
    with socket.socket(fileno=sys.stdin.fileno()) as channel, suppress(ConnectionError):
        serve(channel, limit_s)


if __name__ == "__main__":
    main()
