"""Reads an MP3 frame by frame: it has no other header, and its first frame may be wrong about the rest.

Joined files, tags between them, and encoders that did not know the length yet (a pipe) are common, and a
decoder that believes the first frame ends too early. So the frames are counted, and `rebuilt` tells the
decoder how many there are.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

# ISO/IEC 11172-3 and 13818-3, layer III: kbit/s by index, samples a second by index, samples a frame.
BITRATES = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
# A frame that holds facts about the file instead of sound: head, perhaps a checksum, no side information.
FACTS = re.compile(rb".{4}(?:.{2})?\x00*(Xing|Info|VBRI)", re.DOTALL)
# Fields that may follow, as (flag, bytes): the count of frames, that of bytes, places to seek, the quality.
HAS_COUNT = 1
FIELDS = ((HAS_COUNT, 4), (2, 4), (4, 100), (8, 4))
# Places in one file that cost a look and hold no sound: junk that begins like a frame, frames of facts.
MOST_LOOKS = 2**11
# Whole frames of the file's own kind that stand alone in junk, and are not taken for sound.
MOST_ALONE = 8
# Bytes that are neither frames nor tags, in all; more may be where the frames have more.
MOST_JUNK = 2**17
# Bytes searched at once: no other thread runs meanwhile.
PIECE = 2**16
# Tags that stand one behind another.
MOST_TAGS = 16
# Index of a bitrate at which every frame has room for the facts.
ROOMY = 9


NO_SOUND = "much of it is no sound"


class DamagedError(Exception):
    """The file cannot be heard as a whole; the message says why."""


class Looks:
    """How many of `MOST_LOOKS` are left: they bound the work for a whole file, not for each place in it."""

    def __init__(self) -> None:
        self._left = MOST_LOOKS
        self._alone = MOST_ALONE

    def take(self) -> None:
        """Raises DamagedError where none is left."""
        if not self._left:
            raise DamagedError(NO_SOUND)
        self._left -= 1

    def alone(self) -> None:
        """Count a frame that is ignored because no other follows it. Raises DamagedError after many."""
        if not self._alone:
            raise DamagedError(NO_SOUND)
        self._alone -= 1


class Frame(NamedTuple):
    """One frame: where it begins and ends, and its samples of one channel."""

    start: int
    end: int
    samples: int
    rate: int
    channels: int


class Facts(NamedTuple):
    """What an encoder says of a file: its frames, and the samples added before and after the sound."""

    frames: int = 0
    delay: int = 0
    padding: int = 0


class Mp3(NamedTuple):
    """`samples` counts those of one channel that are to be heard, in all `frames` together."""

    frames: list[Frame]
    samples: int
    delay: int
    padding: int


def past_tags(data: bytes, at: int = 0) -> int:
    """The place behind the tags (ID3v2, ID3v1, APEv2) that begin at a place, if any."""
    for _ in range(MOST_TAGS):
        length = _tag(data[at : at + 32])
        if not length:
            break
        at += length
    return at


def read(data: bytes, max_s: float) -> Mp3:
    """Goes from frame to frame, until there is none or they last more than a second beyond `max_s`.

    Junk between and after them (zeros, tags without a head, pictures) is skipped, unless it is most of the
    file. Without frames it is no MP3. Raises DamagedError.
    """
    frames: list[Frame] = []
    looks = Looks()
    at, total, junk, first, last, behind = 0, 0, 0, Facts(), Facts(), 0
    while (frame := _next(data, at, looks, frames[:1])) is not None:
        junk += frame.start - past_tags(data, at)
        at = frame.end
        if (facts := _facts(data[frame.start : at])) is not None:
            looks.take()
            first, last, behind = first if frames else facts, facts, 0
            continue
        if frames and (frame.rate, frame.channels) != (frames[0].rate, frames[0].channels):
            raise DamagedError("its sampling rate or its channels change on the way")
        frames.append(frame)
        total, behind = total + frame.samples, behind + 1
        if total > (max_s + 1) * frame.rate:
            return Mp3(frames, total, 0, 0)
    junk += len(data) - past_tags(data, at)
    if frames and junk > max(MOST_JUNK, sum(frame.end - frame.start for frame in frames)):
        raise DamagedError(NO_SOUND)
    # The padding is known only where the file that told it is the last one.
    padding = last.padding if abs(behind - last.frames) <= 1 else 0
    beside = first.delay + padding
    return Mp3(frames, total - beside, first.delay, padding) if beside < total else Mp3(frames, total, 0, 0)


def rebuilt(data: bytes, found: Mp3) -> bytes:
    """The frames that `read` found, without tags and junk, behind one frame that tells their count."""
    return _head(data, found) + b"".join(data[frame.start : frame.end] for frame in found.frames)


def _head(data: bytes, found: Mp3) -> bytes:
    """A frame of facts as LAME writes it, of the first frame's kind."""
    first = found.frames[0]
    word = int.from_bytes(data[first.start : first.start + 4], "big")
    # At a bitrate that has room for the facts, without a checksum and without a byte of padding.
    word = (word & ~(0xF << 12 | 1 << 9)) | ROOMY << 12 | 1 << 16
    side = 32 if word >> 19 & 1 else 17
    facts = b"Info" + HAS_COUNT.to_bytes(4, "big") + len(found.frames).to_bytes(4, "big")
    lame = b"LAME".ljust(21, b"\0") + (found.delay << 12 | found.padding).to_bytes(3, "big")
    head = word.to_bytes(4, "big").ljust(4 + (side if first.channels == 2 else side // 2 + 1), b"\0")
    return (head + facts + lame).ljust(_size(word)[0], b"\0")


def _next(data: bytes, at: int, looks: Looks, first: list[Frame]) -> Frame | None:
    """The first frame at a place, tags and junk skipped. Raises DamagedError.

    `first` is the file's first frame, if there is one yet.
    """
    at = past_tags(data, at)
    if (frame := _frame(data, at)) is not None:
        return frame
    for start in _starts(data, at):
        looks.take()
        # In junk anything may look like a frame, but hardly with another one of its kind behind it.
        frame = _frame(data, start)
        if frame is None:
            continue
        if (after := _frame(data, frame.end)) is not None and after[2:] == frame[2:]:
            return frame
        if first and frame[2:] == first[0][2:]:
            looks.alone()
    return None


def _starts(data: bytes, at: int) -> Iterator[int]:
    """The places from `at` on where something begins like a frame."""
    for piece in range(at, len(data), PIECE):
        # The last of them may begin with a piece's last byte.
        for sync in SYNC.finditer(data, piece, piece + PIECE + 1):
            yield sync.start()


def _frame(data: bytes, at: int) -> Frame | None:
    """The frame that begins at a place; None where there is no whole one."""
    if not SYNC.match(data, at) or at + 4 > len(data):
        return None
    word = int.from_bytes(data[at : at + 4], "big")
    if word >> 12 & 15 in (0, 15) or word >> 10 & 3 == 3:
        return None
    length, samples, rate = _size(word)
    if at + length > len(data):
        return None
    return Frame(at, at + length, samples, rate, 1 if word >> 6 & 3 == 3 else 2)


def _size(word: int) -> tuple[int, int, int]:
    """Bytes, samples and rate of a frame that begins with these 32 bits."""
    version = word >> 19 & 3
    rate = RATES[version][word >> 10 & 3]
    bits = BITRATES[1 if version == 3 else 2][word >> 12 & 15] * 1000
    samples = 1152 if version == 3 else 576
    return samples // 8 * bits // rate + (word >> 9 & 1), samples, rate


def _facts(frame: bytes) -> Facts | None:
    """None where the frame holds sound."""
    found = FACTS.match(frame[:46])
    if found is None:
        return None
    if found[1] == b"VBRI":
        return Facts()

    def number(at: int, length: int) -> int:
        return int.from_bytes(frame[at : at + length], "big")

    has, at = number(found.end(), 4), found.end() + 4
    lame = at + sum(length for flag, length in FIELDS if has & flag)
    delay, padding = divmod(number(lame + 21, 3), 1 << 12) if any(frame[lame : lame + 1]) else (0, 0)
    return Facts(number(at, 4) if has & HAS_COUNT else 0, delay, padding)


def _tag(head: bytes) -> int:
    """Bytes of the tag that begins with `head`; 0 where none does."""
    if head[:3] == b"ID3" and len(head) >= 10:
        footer = 10 if head[5] & 0x10 else 0
        return 10 + sum((head[6 + place] & 0x7F) << 7 * (3 - place) for place in range(4)) + footer
    if head[:8] == b"APETAGEX" and len(head) == 32:
        return 32 + int.from_bytes(head[12:16], "little")
    return 128 if head[:3] == b"TAG" else 0
