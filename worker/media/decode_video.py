"""Decodes videos in a child process (`shared.media.decode`): a file in, RGB frames out.

A first request for a video asks what it is, a second one for frames by their numbers.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple

import av
import av.subtitles.stream  # Now: it is imported where a file is opened, when no module can be read any more.
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shared.media.decoder_protocol import Facts, Reply, UnusableError

Pixels = NDArray[np.uint8]
# What cameras, browsers and editors write. FFmpeg knows hundreds, and each is a parser of strangers' bytes.
CODECS = frozenset({"av1", "h264", "hevc", "mjpeg", "mpeg4", "vp8", "vp9"})
# A demuxer is named by the file's first bytes, so none is tried that reads lists of other files (HLS, DASH),
# and it may open nothing.
OPTIONS = {"protocol_whitelist": "none", "enable_drefs": "0"}
# No camera's: more is a file made to be long.
MOST_FPS = 240
MATROSKA, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
TURNS = {90: 1, 180: 2, 270: 3}
av.logging.set_level(None)


class Limits(NamedTuple):
    max_s: float
    max_pixels: int


def read_facts(kind: str, data: bytes, limits: Limits) -> Facts:
    """Of a whole video, upright: counts its frames, but decodes only the first.

    Raises UnusableError, whatever FFmpeg raises.
    """
    with _opened(kind, data, limits) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        first = next(iter(container.decode(stream)), None)
        if first is None:
            raise UnusableError("it has no frames")
        turns = _turns(first)
        container.seek(0)
        frames, span_s = _count(container, stream, limits)
        if len(data) < _announced_bytes(kind, data, stream):
            raise UnusableError("it is cut short")
        rate = _rate(rate, frames, span_s)
        length_s = max(span_s, float(frames / rate))
        if length_s > limits.max_s:
            most = f"at most {limits.max_s:g} s are accepted; cut it"
            raise UnusableError(f"it is {length_s:.1f} s long; {most}")
    width, height = (first.height, first.width) if turns % 2 else (first.width, first.height)
    ratio = Fraction(rate).limit_denominator(2**31 - 1).as_integer_ratio()
    return {"frames": frames, "rate": ratio, "width": width, "height": height}


def read_frames(kind: str, data: bytes, wanted: Sequence[int], limits: Limits) -> tuple[int, list[Pixels]]:
    """How many frames there were up to the last wanted one, and the wanted ones, upright.

    Raises UnusableError, whatever FFmpeg raises.
    """
    places, pixels, number = set(wanted), dict[int, Pixels](), 0
    with _opened(kind, data, limits) as (container, stream):
        size: tuple[int, int] | None = None
        for number, frame in enumerate(container.decode(stream), 1):
            size = size or (frame.width, frame.height)
            if size != (frame.width, frame.height):
                raise UnusableError("its frames are not all of one size")
            if number - 1 in places:
                upright = np.rot90(frame.to_ndarray(format="rgb24"), _turns(frame))
                pixels[number - 1] = np.ascontiguousarray(upright)
            if number > max(places):
                break
    return number, [pixels[at] for at in wanted if at in pixels]


@contextmanager
def _opened(kind: str, data: bytes, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    file = io.BytesIO(data)
    with av.open(file, "r", format=kind, options=OPTIONS, metadata_errors="replace") as container:
        if not container.streams.video:
            raise UnusableError("it has no pictures in it")
        stream = container.streams.video[0]
        codec = stream.codec_context
        name = codec.codec.canonical_name
        if name not in CODECS:
            raise UnusableError(f"its pictures are coded as {name}, which is not accepted; send H.264 or VP9")
        pixels = codec.width * codec.height
        if not pixels:
            raise UnusableError("it has no pictures in it")
        if pixels > limits.max_pixels:
            most = f"at most {limits.max_pixels / 1e6:g} megapixels are accepted; send a smaller one"
            raise UnusableError(f"its frames have {codec.width} x {codec.height} pixels; {most}")
        codec.thread_type, codec.thread_count = "NONE", 1
        codec.options = {"max_pixels": str(limits.max_pixels)}
        yield container, stream


def _count(container: InputContainer, stream: VideoStream, limits: Limits) -> tuple[int, float]:
    """The frames that are to be shown, and the seconds from the first to the last."""
    frames, times, most = 0, list[int](), limits.max_s * MOST_FPS
    for number, packet in enumerate(container.demux(stream)):
        if number > most:
            raise UnusableError(f"it has more than {most:g} frames")
        if packet.is_discard:
            # Before the beginning of a video that was trimmed without coding it anew.
            continue
        frames += packet.size > 0
        if packet.pts is not None:
            times = [min(*times, packet.pts), max(*times, packet.pts)] if times else [packet.pts] * 2
    span = times[1] - times[0] if times else 0
    return frames, float(span * (stream.time_base or 0))


def _rate(announced: Fraction | None, frames: int, span_s: float) -> Fraction:
    """Frames a second: as announced, unless that is far from the truth."""
    if span_s <= 0:
        return announced or Fraction(1)
    measured = Fraction((frames - 1) / span_s).limit_denominator(1000)
    return announced if announced and measured <= 2 * announced <= 4 * measured else measured


def _announced_bytes(kind: str, data: bytes, stream: VideoStream) -> int:
    """How long the file is by its own account; 0 if it has none.

    Some programs count the head of the RIFF or segment too, so this does not.
    """
    if kind == "avi":
        return int.from_bytes(data[4:8], "little")
    if kind == "mov":
        return max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    # RFC 8794: after the header stands the segment, of a size that live recordings leave open.
    header, at = _integer(data, len(MATROSKA))
    if data[at + header : at + header + len(SEGMENT)] != SEGMENT:
        return 0
    size, _ = _integer(data, at + header + len(SEGMENT))
    return at + header + size if size != 2**56 - 1 else 0


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length (RFC 8794, section 4), and where it ends."""
    length = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + length]) & (1 << 7 * length) - 1, at + length


def _turns(frame: VideoFrame) -> int:
    """Quarter turns to the left that show it upright."""
    return TURNS.get(round(frame.rotation) % 360, 0)


def answer(request: Facts, data: bytes) -> Reply:
    """What a video is, or where some are `wanted`, its frames; none of them where one is missing."""
    kind, wanted, limits = request["format"], request["wanted"], Limits(request["max_s"], request["most"])
    if not wanted:
        return Reply(read_facts(kind, data, limits))
    seen, frames = read_frames(kind, data, wanted, limits)
    if len(frames) < len(wanted):
        return Reply({"seen": seen})
    height, width, _ = frames[0].shape
    facts = {"seen": seen, "width": width, "height": height}
    return Reply(facts, sum(frame.nbytes for frame in frames), [frame.data for frame in frames])
