"""The child process that decodes sounds: a stranger's bytes in on one socket, samples out.

Run as `python -m worker.media.decode_sound <limit_s> <memory_mb>` with a socket as standard input, by
`sound_decoder`.
As `pixels` it holds no secrets, may be killed at any moment, and imports nothing else of the project.
"""

import io
import sys

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from worker.media.decoder_protocol import SOUNDS, Numbers, serve

# Seconds that MP3's decoders may add before and after what was encoded, or cut off.
SLACK_S = 0.2
# Whole numbers of 32 bits written as floats are as loud; far louder, and the model computes NaN.
LOUDEST = 2.0**31


def decode(frames: int, rate: int, channels: int, wanted: int, data: bytes) -> "NDArray[np.float32]":
    """Mono samples at the `wanted` rate, from bytes whose headers announced the other numbers.

    Raises ValueError if the decoder finds a sound other than announced, and whatever the decoder raises.
    """
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        if (file.samplerate, file.channels) != (rate, channels):
            raise ValueError("the decoder hears another sound than the headers announced")
        slack = int(SLACK_S * rate)
        samples = file.read(frames + slack + 1, dtype="float32", always_2d=True)
    if not len(samples) or abs(len(samples) - frames) > slack:
        raise ValueError("the decoder hears another sound than the headers announced")
    # NaN fits between no bounds.
    if not -LOUDEST <= samples.min() <= samples.max() <= LOUDEST:
        raise ValueError("the sound is louder than any")
    mono = samples[:, 0] if channels == 1 else samples.mean(axis=1, dtype=np.float32)
    resampled: NDArray[np.float32] = mono if rate == wanted else soxr.resample(mono, rate, wanted)
    return resampled


def _decoded(said: tuple[int, ...], data: bytes) -> tuple[Numbers, bytes]:
    frames, rate, channels, wanted = said
    samples = decode(frames, rate, channels, wanted, data)
    return (len(samples),), samples.tobytes()


def main() -> None:
    serve(SOUNDS, _decoded, float(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
