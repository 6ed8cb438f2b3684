"""Decodes sounds in a child process (`shared.media.decode`): a file in, samples out."""

import io
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from shared.media.decoder_protocol import Facts, Reply, UnusableError

Samples = NDArray[np.float32]
# Frames decoded at once, so that what a second holds in memory does not depend on rate and channels.
BLOCK = 2**14
# Whole numbers of 32 bits written as floats are as loud; far louder, and the model computes NaN.
LOUDEST = 2.0**31
# An MP3 without a header of its encoder is as long as its first frame makes it seem, about.
SLACK, SLACK_S = 0.01, 0.2
FORMATS = ("WAV", "WAVEX", "FLAC", "MP3")
MP3_STARTS = (b"ID3", b"\xff\xe2", b"\xff\xe3", b"\xff\xf2", b"\xff\xf3", b"\xff\xfa", b"\xff\xfb")


class SoundStream(soundfile.SoundFile):  # type: ignore[misc]
    """A sound that is read from its beginning to its end.

    soundfile 0.14 seeks after each read of a file that can seek, and in an MP3 libsndfile does not get to the
    same place.
    """

    def seekable(self) -> bool:
        return False

    def blocks(self) -> Iterator[Samples]:
        """Arrays of frames by channels."""
        while len(block := self.read(BLOCK, dtype="float32", always_2d=True)):
            yield block


def decode(data: bytes, rate: int, max_s: float) -> Samples:
    """Mono samples at a `rate`. Raises UnusableError, and whatever the decoder raises."""
    source, frames = io.BytesIO(data), 0
    with SoundStream(source) as file:
        # What follows an ID3 tag may be of any kind that the library knows.
        if file.format not in FORMATS:
            raise UnusableError("it is not a WAV, FLAC or MP3")
        resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
        parts: list[Samples] = []
        for block in file.blocks():
            frames += len(block)
            if frames > max_s * file.samplerate:
                raise UnusableError(f"it is longer than {max_s:g} s")
            parts.append(resampler.resample_chunk(_mono(block)))
        _check_whole(file, frames, data[source.tell() :])
    parts.append(resampler.resample_chunk(np.empty(0, np.float32), last=True))
    samples = np.concatenate(parts)
    if not len(samples):
        raise UnusableError("nothing is to be heard in it")
    return samples


def _mono(block: Samples) -> Samples:
    # NaN fits between no bounds.
    if not -LOUDEST <= block.min() <= block.max() <= LOUDEST:
        raise UnusableError("it is louder than any sound")
    mono: Samples = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
    return mono


def _check_whole(file: SoundStream, frames: int, rest: bytes) -> None:
    """`frames` were decoded, and a `rest` of bytes was not. Raises UnusableError.

    The decoder reads as many frames as the file announces. MP3s that were joined, or whose encoder varied its
    bitrate and could not write their length, would be answered by their beginning alone.
    """
    if frames < file.frames * (1 - SLACK) - SLACK_S * file.samplerate:
        raise UnusableError("it is cut short, or does not say how long it is")
    if file.format == "MP3" and rest.startswith(MP3_STARTS):
        raise UnusableError("it does not say how long it is, or several were joined")


def answer(request: Facts, data: bytes) -> Reply:
    return Reply.of(decode(data, request["rate"], request["max_s"]).tobytes())
