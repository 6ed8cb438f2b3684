"""Pictures that want gigabytes or minutes, that lie about themselves, or that were broken."""

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.safety.case import ANY, BAD, SIZE, Case, photo
from tests.support import pictures as make

JPEG, PNG = photo("JPEG"), photo("PNG")
IDAT = PNG.index(b"IDAT") - 4
OPTIONS: dict[str, dict[str, Any]] = {
    "progressive": {"progressive": True},
    "without subsampling": {"subsampling": 0},
    "of restarts": {"restart_marker_blocks": 1},
    "of much comment": {"comment": b"a" * 60_000},
}


def _framed(width: int, height: int) -> bytes:
    frame = make.jpeg_segment(0xC0, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0))
    return b"\xff\xd8" + frame + make.jpeg_segment(0xDA, b"\1\1\0\0\x3f\0") + b"\x12\xff\xd9"


JPEGS = {
    "of fill bytes": b"\xff\xd8" + b"\xff" * 15_000_000,
    "of fill bytes before its frame": b"\xff\xd8" + b"\xff" * 200_000 + JPEG[2:],
    "of empty segments": b"\xff\xd8" + b"\xff\xe0\0\2" * 5000 + JPEG[2:],
    "of nothing": b"\xff\xd8\xff\xd9",
    "without frame": b"\xff\xd8\xff" + JPEG[JPEG.index(b"\xff\xda") + 1 :],
    "of two frames": JPEG.replace(b"\xff\xc0", make.jpeg_segment(0xC0, bytes(15)) + b"\xff\xc0", 1),
    "of no components": b"\xff\xd8"
    + make.jpeg_segment(0xC0, struct.pack(">BHHB", 8, 8, 8, 0))
    + b"\xff\xda\0\2\xff\xd9",
    "of 255 components": b"\xff\xd8"
    + make.jpeg_segment(0xC2, struct.pack(">BHHB", 8, 8, 8, 255))
    + b"\xff\xda\0\2\xff\xd9",
    "without tables": _framed(8, 8),
}
SWAPPED = (
    ("of 12 bits", b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
    ("that says it is lossless", b"\xff\xc0", b"\xff\xc3"),
    ("that says it is arithmetic", b"\xff\xc0", b"\xff\xc9"),
    ("that says it is hierarchical", b"\xff\xc0", b"\xff\xc5"),
    ("with a segment of no length", b"\xff\xdb\0", b"\xff\xe1\0\0\xff\xdb\0"),
    ("with a segment of length 1", b"\xff\xdb\0", b"\xff\xe1\0\1\xff\xdb\0"),
    ("with a restart interval of 0", b"\xff\xc0", b"\xff\xdd\0\4\0\0\xff\xc0"),
)
PNGS = {
    "of another sum": PNG[:29] + b"\0\0\0\0" + PNG[33:],
    "of a chunk without end": PNG[:33] + b"\x7f\xff\xff\xff" + PNG[37:],
    "of a chunk of 4 GB": PNG[:33] + b"\xff\xff\xff\xff" + PNG[37:],
    "of an unknown chunk": PNG[:33] + make.png_chunk(b"juNk", bytes(9)) + PNG[33:],
    "of an unknown chunk that counts": PNG[:33] + make.png_chunk(b"JUNK", bytes(9)) + PNG[33:],
    "of empty data": PNG[:33] + make.png_chunk(b"IDAT", b"") + make.png_chunk(b"IEND", b""),
    "of data that is none": PNG[:33] + make.png_chunk(b"IDAT", bytes(90)) + make.png_chunk(b"IEND", b""),
    "of a palette of 300": PNG[:33] + make.png_chunk(b"PLTE", bytes(900)) + PNG[33:],
    "of half a palette colour": PNG[:33] + make.png_chunk(b"PLTE", bytes(4)) + PNG[33:],
    "of gamma 0": PNG[:33] + make.png_chunk(b"gAMA", bytes(4)) + PNG[33:],
    "of white nowhere": PNG[:33] + make.png_chunk(b"cHRM", bytes(32)) + PNG[33:],
    "of no metres": PNG[:33] + make.png_chunk(b"pHYs", bytes(9)) + PNG[33:],
    "of 20,000 chunks": PNG[:33] + make.png_chunk(b"tEXt", b"k\0v") * 20_000 + PNG[33:],
    "of 120,000 chunks": PNG[:33] + make.png_chunk(b"tEXt", b"") * 120_000 + PNG[33:],
    "of a header twice": PNG[:33] + PNG[8:33] + PNG[33:],
    "of a header last": PNG[:8] + PNG[33:] + PNG[8:33],
    "smaller than it says": PNG[:16] + struct.pack(">II", 4000, 4000) + PNG[24:],
    "larger than it says": PNG[:16] + struct.pack(">II", 4, 4) + PNG[24:],
    "interlaced in no known way": PNG[:28] + b"\7" + PNG[29:],
    "of data behind its end": PNG[:IDAT] + make.png_chunk(b"IEND", b"") + PNG[IDAT:],
    "of metadata that is none": PNG[:IDAT] + make.png_chunk(b"eXIf", bytes(300)) + PNG[IDAT:],
}


def damaged() -> Iterator[Case]:
    for group in (bombs, jpegs, pngs):
        yield from group()


def bombs() -> Iterator[Case]:
    """A few bytes that want gigabytes, and sizes at both sides of the limits."""
    for side in (3900, 6400, 11_000, 16_000, 16_384):
        yield Case(f"WebP of 34 bytes, {side} a side", partial(make.webp_lossless_header, side, side), BAD)
    for side in (6400, 13_000, 65_535):
        yield Case(f"GIF of 40 bytes, {side} a side", partial(make.gif_header, side, side), BAD)
    for size in (
        (1, 80_000_000),
        (2**31 - 1, 2**31 - 1),
        (2**32 - 1, 1),
        (0, 0),
        (0, 5),
        (1, 20_000),
        (51, 1),
    ):
        yield Case(f"PNG of {size[0]} x {size[1]}", partial(make.png, size, bytes(50)), BAD)
    for size in ((50, 1), (1, 50)):
        yield Case(f"PNG of {size[0]} x {size[1]}", partial(make.picture, "PNG", size), size)
    # Good, but a busy machine may not get them done in time.
    yield Case("PNG of 36 megapixels", partial(make.picture, "PNG", (6000, 6000), "1"), ANY)
    yield Case("PNG of 41 megapixels", partial(make.picture, "PNG", (6400, 6410), "1"), ANY)
    yield Case("PNG of 90 megapixels and no more", partial(make.png, (9500, 9500), bytes(50)), BAD)
    webp = partial(make.picture, "WEBP", (3700, 3700), lossless=True, method=0, quality=0)
    yield Case("WebP of 14 megapixels", webp, ANY)
    yield Case("JPEG of 65,500 a side", lambda: _framed(65_500, 65_500), BAD)
    yield Case("JPEG of 0 x 0", lambda: _framed(0, 0), BAD)
    yield Case("PNG whose rows unfold for ever", partial(make.png, SIZE, bytes(30_000_000)), ANY)
    for name in (b"zTXt", b"iTXt", b"iCCP"):
        yield Case(f"PNG whose {name.decode()} unfolds", partial(_unfolding, name), BAD)


def _unfolding(chunk: bytes) -> bytes:
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[chunk]
    extra = make.png_chunk(chunk, head + zlib.compress(bytes(50_000_000), 9))
    return make.png(SIZE, bytes((SIZE[0] * 3 + 1) * SIZE[1]), extra=(extra,))


def jpegs() -> Iterator[Case]:
    for name, options in OPTIONS.items():
        yield Case(f"JPEG {name}", partial(photo, "JPEG", **options), SIZE)
    scans = partial(make.jpeg_of_scans, (200, 200))
    yield Case("JPEG of 190 scans", partial(scans, 190), (200, 200))
    yield Case("JPEG of 40,000 scans", partial(scans, 40_000), ANY)
    yield Case("JPEG of 400 large scans", partial(make.jpeg_of_scans, (5000, 5000), 400), ANY)
    yield Case("JPEG without end", partial(bytes, JPEG[:-2]), SIZE)
    for name, data in JPEGS.items():
        yield Case(f"JPEG {name}", partial(bytes, data), BAD)
    for name, old, new in SWAPPED:
        yield Case(f"JPEG {name}", partial(bytes, JPEG.replace(old, new, 1)), ANY)


def pngs() -> Iterator[Case]:
    for name, data in PNGS.items():
        yield Case(f"PNG {name}", partial(bytes, data), ANY)
