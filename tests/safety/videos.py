"""Videos that want gigabytes or for ever, that lie, or that reach out, each with what must become of it."""

import struct
from collections.abc import Iterator
from functools import partial

from tests.safety.case import ANY, BAD, ELSEWHERE, SHOWN, Case, cut, flipped, photo
from tests.safety.documents import ONE
from tests.support.sounds import sound
from tests.support.videos import video

MP4, WEBM, AVI = video(), video(kind="webm", codec="libvpx-vp9"), video(kind="avi", codec="mpeg4")
FAST = video(40, options={"movflags": "faststart"})
WRONG = {
    "nothing": b"", "zeros": bytes(5000), "a PNG": photo("PNG"), "a GIF": photo("GIF"), "a PDF": ONE, "a WAV": sound(), "an MP3": sound("MP3"),
    "a playlist": f"#EXTM3U\n#EXTINF:1,\n{ELSEWHERE}\n#EXT-X-ENDLIST\n".encode(), "a list of local files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "a manifest": f"<MPD><Period><BaseURL>{ELSEWHERE}</BaseURL></Period></MPD>".encode(), "a session": b"v=0\no=- 0 0 IN IP4 10.0.0.1\nm=video 9 RTP/AVP 96\n",
    "a Flash video": b"FLV\1\5\0\0\0\x09" + bytes(90), "a transport stream": (b"\x47" + bytes(187)) * 9, "an Ogg": b"OggS\0\2" + bytes(90),
    "a script": b"#!/bin/sh\nid\n", "HEIC": b"\0\0\0\x1cftypheic" + bytes(90), "AVIF": b"\0\0\0\x1cftypavif" + bytes(90), "an EBML header": b"\x1a\x45\xdf\xa3" + bytes(60),
    "an AVI header": b"RIFF\x40\0\0\0AVI LIST" + bytes(90), "a box": b"\0\0\0\x20ftypisom" + bytes(90), "an empty moov": b"\0\0\0\x08moov",
    "EBML of no end": b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(90),
}  # fmt: skip


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack("!I", 8 + len(body)) + kind + body


def videos() -> Iterator[Case]:
    for name, data in WRONG.items():
        # What it is decides: pictures and documents are shown.
        yield Case(f"{name} by the name of a video", partial(bytes, data), ANY)
    for group in (broken, boxes, large, mixed):
        yield from group()


def broken() -> Iterator[Case]:
    for kind, whole in (("MP4", MP4), ("fast MP4", FAST), ("WebM", WEBM), ("AVI", AVI)):
        yield from cut(kind, whole, BAD, (1, 5, 9))
        yield from flipped(kind, whole, 8, begin=12, each=4)


def _overwritten(kind: bytes, offset: int, value: bytes) -> bytes:
    """The MP4 with other bytes so far behind the name of a box."""
    at = MP4.index(kind) + 4 + offset
    return MP4[:at] + value + MP4[at + len(value) :]


def boxes() -> Iterator[Case]:
    """ISO/IEC 14496-12: what a header says, and is not so."""
    most = b"\xff" * 4
    for name, kind, offset, value in (
        ("of 60,000 pixels a side", b"avc1", 24, b"\xea\x60\xea\x60"),
        ("of no pixels", b"avc1", 24, bytes(4)),
        ("of no time scale", b"mvhd", 12, bytes(4)),
        ("of no time scale in its track", b"mdhd", 12, bytes(4)),
        ("of a hundred years", b"mdhd", 16, most),
        ("of 4 billion frames", b"stsz", 8, most),
        ("of frames of 4 GB", b"stsz", 12, most),
        ("of 4 billion times", b"stts", 4, most),
        ("of 4 billion chunks", b"stsc", 4, most),
        ("of chunks beyond its end", b"stco", 8, most),
        ("of 4 billion descriptions", b"stsd", 4, most),
        ("of another codec", b"avc1", -4, b"ffv1"),
        ("of no codec's settings", b"avcC", 0, bytes(20)),
        ("of bytes in another file", b"url ", 0, b"\0\0\0\0"),
    ):
        yield Case(f"MP4 {name}", partial(_overwritten, kind, offset, value), ANY)
    nested = b""
    for _ in range(5000):
        nested = box(b"moov", nested)
    yield Case("MP4 of boxes in boxes", partial(bytes, MP4[:32] + nested), BAD)
    yield Case("MP4 of a box of no size", lambda: MP4[:32] + b"\0\0\0\0moov" + MP4[32:], ANY)
    yield Case("MP4 of a box of 2 ** 63 bytes", lambda: MP4[:32] + b"\0\0\0\1moov\x7f" + b"\xff" * 7, BAD)
    yield Case("MP4 of 200,000 empty boxes", lambda: MP4[:32] + box(b"free", b"") * 200_000 + MP4[32:], ANY)
    yield Case("MP4 of 50,000 tracks", lambda: MP4[:32] + box(b"moov", box(b"trak", b"") * 50_000), BAD)


def large() -> Iterator[Case]:
    yield Case("MP4 of a gigabyte of black", lambda: video(3000, 30, (640, 360)), ANY)
    yield Case("MP4 of 12 megapixels", lambda: video(2, size=(4096, 3000)), BAD)
    yield Case("MP4 of 10,000 seconds", lambda: video(2, 4, times=[0, 40_000]), BAD)
    yield Case("MP4 of a pause of a day", lambda: video(3, 4, times=[0, 1, 345_600]), BAD)
    yield Case("MP4 of 5,000 frames of nothing", lambda: video(5000, 240, (16, 16)), ANY)
    yield Case("WebM of a single frame", lambda: video(1, kind="webm", codec="libvpx-vp9"), ANY)
    yield Case("MKV of a codec that nobody sends", lambda: video(kind="matroska", codec="ffv1"), BAD)


def mixed() -> Iterator[Case]:
    """Two things in one file, and good ones, so that a refusal of everything is noticed."""
    yield Case("MP4 that is a ZIP too", lambda: MP4 + b"PK\x05\x06" + bytes(18), ANY)
    yield Case("MP4 that is a page for browsers too", lambda: MP4 + b"<script>alert(1)</script>", ANY)
    yield Case("MP4 behind another", lambda: MP4 + FAST, ANY)
    yield Case("a PDF in an MP4's box", lambda: box(b"ftyp", b"isom%PDF-1.7\n") + ONE, BAD)
    for name, whole in (("MP4", MP4), ("WebM", WEBM), ("AVI", AVI)):
        yield Case(f"{name} that is well", partial(bytes, whole), SHOWN)
