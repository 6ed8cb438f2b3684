"""Pictures that mean harm, and good ones that are easily mistaken for them, each with what must become of it."""

import base64
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from tests.safety.profiles import lookup_profile
from tests.support import pictures as make

KINDS = ("PNG", "JPEG", "WEBP", "GIF")
SIZE = (40, 30)
ORIENTATION = 0x0112
ANY = "any"
BAD = "bad"


@dataclass(frozen=True)
class Case:
    """`fate` is the size that the model sees, BAD, or ANY where both a picture and a refusal are right.

    `made` makes the file, or the text that stands where a picture should.
    """

    name: str
    made: Callable[[], bytes | str]
    fate: tuple[int, int] | str


def photo(kind: str = "JPEG", size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """With something in every corner, so that compressors keep some bytes of it."""
    noise = Image.effect_noise(size, 60)
    return make.encoded(Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180))), kind, **options)


def cases() -> Iterator[Case]:
    for group in (oriented, colours, wrapped, animated, bombs, jpegs, pngs, cut, flipped, foreign):
        yield from group()


def oriented() -> Iterator[Case]:
    for value in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 99, 65535):
        exif = Image.Exif()
        exif[ORIENTATION] = value
        seen = SIZE[::-1] if 5 <= value <= 8 else SIZE
        for kind in ("JPEG", "PNG", "WEBP"):
            yield Case(f"{kind} of orientation {value}", partial(photo, kind, exif=exif), seen)
    damaged = {
        "cut": b"Exif\0\0MM\0*\0\0",
        "of a loop": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x08\0\0\0",
        "of too much": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(600),
        "of a count without end": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\xff\xff\xff\xff",
        "of text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\x00abc\0\0\0\0\0",
        "of nonsense": b"Exif\0\0" + bytes(range(256)),
    }
    for name, exif_bytes in damaged.items():
        yield Case(f"metadata {name}", partial(photo, "JPEG", exif=exif_bytes), ANY)


def colours() -> Iterator[Case]:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield Case(f"PNG of {mode}", partial(make.picture, "PNG", SIZE, mode), SIZE)
    for mode in ("L", "RGB", "CMYK"):
        yield Case(f"JPEG of {mode}", partial(make.picture, "JPEG", SIZE, mode), SIZE)
    for depth, colour, sample in ((2, 0, 1), (4, 0, 1), (16, 2, 6), (16, 4, 4), (16, 6, 8)):
        rows = (b"\0" + bytes(SIZE[0] * sample)) * SIZE[1]
        yield Case(
            f"PNG of {depth} bits of colour {colour}",
            partial(make.png, SIZE, rows, depth=depth, colour=colour),
            SIZE,
        )
    key = {"P": b"\0\x80", "L": b"\0\x10", "RGB": b"\0\x10\0\x10\0\x10", "L long": b"\0" * 300, "empty": b""}
    for name, value in key.items():
        colour = {"P": 3, "L": 0, "RGB": 2, "L long": 0, "empty": 0}[name]
        made = partial(_keyed, colour, value)
        yield Case(f"PNG with a transparent colour, {name}", made, SIZE if len(name) < 4 else ANY)
    profiles = {"empty": b"", "nonsense": bytes(range(256)) * 40, "of megabytes": bytes(3_000_000)}
    for name, profile in profiles.items():
        for kind in ("JPEG", "PNG", "WEBP"):
            yield Case(f"{kind} with a profile, {name}", partial(photo, kind, icc_profile=profile), ANY)
    for channels, grid in ((3, 2), (3, 33), (4, 9), (4, 17)):
        made = partial(_profiled, "CMYK" if channels == 4 else "RGB", lookup_profile(channels, grid))
        yield Case(f"a profile of {grid} points in {channels} dimensions", made, SIZE)
    yield Case("a profile for other channels", partial(_profiled, "L", lookup_profile(4, 9)), SIZE)


def _keyed(colour: int, key: bytes) -> bytes:
    extra = (
        (make.png_chunk(b"PLTE", bytes(6)), make.png_chunk(b"tRNS", key))
        if colour == 3
        else (make.png_chunk(b"tRNS", key),)
    )
    rows = (b"\0" + bytes(SIZE[0] * (3 if colour == 2 else 1))) * SIZE[1]
    return make.png(SIZE, rows, colour=colour, extra=extra)


def _profiled(mode: str, profile: bytes) -> bytes:
    return make.picture("JPEG", SIZE, mode, icc_profile=profile)


def wrapped() -> Iterator[Case]:
    """Two things in one file, and pictures in every dress that text gives them."""
    tails = {
        "a ZIP": b"PK\x03\x04" + bytes(100) + b"PK\x05\x06" + bytes(18),
        "a script": b"<script>alert(1)</script>",
        "a PDF": b"%PDF-1.7\n%%EOF",
        "another picture": photo("PNG"),
        "a megabyte": bytes(2**20),
    }
    for kind in KINDS:
        for name, tail in tails.items():
            yield Case(f"{kind} and {name}", partial(_joined, kind, tail), SIZE)
    whole = base64.b64encode(photo("PNG")).decode()
    dresses = {
        "bare": whole,
        "as a data URI": f"data:image/png;base64,{whole}",
        "as a data URI of another kind": f"data:image/svg+xml;base64,{whole}",
        "as a data URI with parameters": f"data:image/png;name=a.png;charset=utf-8;base64,{whole}",
        "in capitals": f"DATA:IMAGE/PNG;BASE64,{whole}",
        "in lines": "\r\n".join(whole[at : at + 76] for at in range(0, len(whole), 76)),
        "without padding": whole.rstrip("="),
        "for URLs": whole.replace("+", "-").replace("/", "_"),
        "escaped": "data:image/png;base64,"
        + whole.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
        "between blanks": f"  {whole}\n\t",
    }
    for name, text in dresses.items():
        yield Case(f"text {name}", partial(str, text), SIZE)
    traps = (
        "data:,hello", "data:image/png,hello", "data:text/html;base64,PGI+", "data:;base64,AAAA", "data:image/png;base64,",
        "data:image/png;base64,====", "data:image/png;base64,A", "data:image/png;base64,AAAA====AAAA", "data:" * 2000,
        "data:image/png;base64,%00%00", "data:image/png;base64," + "%41" * 5000, "data:image/png;base64,\0\0\0\0",
        "data:image/" + "a" * 5000 + ";base64,AAAA", f"data:image/png;base64,data:image/png;base64,{whole}",
        "data:image/png;base64," + "=" * 100_000, "A" * 1_000_000, "А" * 1000, "iVBORw0KGgo", "", " ", "\0", "a.png",
        "/etc/passwd", "../../etc/passwd", "C:\\a.png", "\\\\host\\share\\a.png", "~/.ssh/id_rsa", "./a.png",
        base64.b64encode(whole.encode()).decode(), whole[:-8] + "!" + whole[-7:], "\ufeff" + whole,
    )  # fmt: skip
    for number, text in enumerate(traps):
        yield Case(f"trap {number} {text[:30]!a}", partial(str, text), BAD)


def _joined(kind: str, tail: bytes) -> bytes:
    return photo(kind) + tail


def animated() -> Iterator[Case]:
    for kind in ("PNG", "WEBP", "GIF"):
        made = partial(make.animation, kind, ((255, 0, 0), (0, 255, 0), (0, 0, 255)) * 30, SIZE)
        yield Case(f"{kind} that moves", made, SIZE)
    yield Case("PNG that says it moves for ever", lambda: _moving(2**31 - 1), ANY)
    yield Case("PNG that moves in no frames", lambda: _moving(0), ANY)
    yield Case("GIF of 2,000 frames", lambda: _frames(2000), SIZE)
    yield Case("GIF of 100,000 comments", lambda: _commented(90_000), ANY)
    yield Case("GIF of 300,000 comments", lambda: _commented(300_000), BAD)


def _moving(frames: int) -> bytes:
    whole = photo("PNG")
    return whole[:33] + make.png_chunk(b"acTL", struct.pack(">II", frames, 0)) + whole[33:]


def _frames(count: int) -> bytes:
    whole = photo("GIF")
    start = whole.index(b"\x2c" + bytes(4))
    return whole[:-1] + whole[start:-1] * count + b";"


def _commented(count: int) -> bytes:
    whole = photo("GIF")
    start = whole.index(b"\x2c" + bytes(4))
    return whole[:start] + b"!\xfe\x01a\0" * count + whole[start:]


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
    yield Case("PNG of 41 megapixels", partial(make.picture, "PNG", (6400, 6410), "1"), BAD)
    webp = partial(make.picture, "WEBP", (3700, 3700), lossless=True, method=0, quality=0)
    yield Case("WebP of 14 megapixels", webp, ANY)
    yield Case("JPEG of 65,500 a side", lambda: _framed(65_500, 65_500), BAD)
    yield Case("JPEG of 0 x 0", lambda: _framed(0, 0), BAD)
    yield Case("PNG whose rows unfold for ever", partial(make.png, SIZE, bytes(30_000_000)), ANY)
    for name in (b"zTXt", b"iTXt", b"iCCP"):
        yield Case(f"PNG whose {name.decode()} unfolds", partial(_unfolding, name), ANY)


def _unfolding(chunk: bytes) -> bytes:
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[chunk]
    extra = make.png_chunk(chunk, head + zlib.compress(bytes(50_000_000), 9))
    return make.png(SIZE, bytes((SIZE[0] * 3 + 1) * SIZE[1]), extra=(extra,))


def _framed(width: int, height: int) -> bytes:
    frame = make.jpeg_segment(0xC0, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0))
    return b"\xff\xd8" + frame + make.jpeg_segment(0xDA, b"\1\1\0\0\x3f\0") + b"\x12\xff\xd9"


def jpegs() -> Iterator[Case]:
    whole = photo("JPEG")
    for name, options in {
        "progressive": {"progressive": True},
        "without subsampling": {"subsampling": 0},
        "of restarts": {"restart_marker_blocks": 1},
        "of much comment": {"comment": b"a" * 60_000},
    }.items():
        yield Case(f"JPEG {name}", partial(photo, "JPEG", **options), SIZE)
    scans = partial(make.jpeg_of_scans, (200, 200))
    yield Case("JPEG of 190 scans", partial(scans, 190), (200, 200))
    yield Case("JPEG of 201 scans", partial(scans, 201), BAD)
    yield Case("JPEG of 40,000 scans", lambda: make.jpeg_of_scans((2000, 2000), 4000), BAD)
    wrong: dict[str, bytes] = {
        "without end": whole[:-2],
        "of fill bytes": b"\xff\xd8" + b"\xff" * 15_000_000,
        "of fill bytes before its frame": b"\xff\xd8" + b"\xff" * 200_000 + whole[2:],
        "of empty segments": b"\xff\xd8" + b"\xff\xe0\0\2" * 5000 + whole[2:],
        "of nothing": b"\xff\xd8\xff\xd9",
        "without frame": b"\xff\xd8\xff" + whole[whole.index(b"\xff\xda") + 1 :],
        "of two frames": whole.replace(b"\xff\xc0", make.jpeg_segment(0xC0, bytes(15)) + b"\xff\xc0", 1),
        "of no components": b"\xff\xd8"
        + make.jpeg_segment(0xC0, struct.pack(">BHHB", 8, 8, 8, 0))
        + b"\xff\xda\0\2\xff\xd9",
        "of 255 components": b"\xff\xd8"
        + make.jpeg_segment(0xC2, struct.pack(">BHHB", 8, 8, 8, 255))
        + b"\xff\xda\0\2\xff\xd9",
        "without tables": _framed(8, 8),
    }
    for name, data in wrong.items():
        yield Case(f"JPEG {name}", partial(bytes, data), BAD)
    for name, old, new in (
        ("of 12 bits", b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        ("that says it is lossless", b"\xff\xc0", b"\xff\xc3"),
        ("that says it is arithmetic", b"\xff\xc0", b"\xff\xc9"),
        ("that says it is hierarchical", b"\xff\xc0", b"\xff\xc5"),
        ("with a segment of no length", b"\xff\xdb\0", b"\xff\xe1\0\0\xff\xdb\0"),
        ("with a segment of length 1", b"\xff\xdb\0", b"\xff\xe1\0\1\xff\xdb\0"),
        ("with a restart interval of 0", b"\xff\xc0", b"\xff\xdd\0\4\0\0\xff\xc0"),
    ):
        yield Case(f"JPEG {name}", partial(bytes, whole.replace(old, new, 1)), ANY)


def pngs() -> Iterator[Case]:
    whole = photo("PNG")
    idat = whole.index(b"IDAT") - 4
    changed = {
        "of another sum": whole[:29] + b"\0\0\0\0" + whole[33:],
        "of a chunk without end": whole[:33] + b"\x7f\xff\xff\xff" + whole[37:],
        "of a chunk of 4 GB": whole[:33] + b"\xff\xff\xff\xff" + whole[37:],
        "of an unknown chunk": whole[:33] + make.png_chunk(b"juNk", bytes(9)) + whole[33:],
        "of an unknown chunk that counts": whole[:33] + make.png_chunk(b"JUNK", bytes(9)) + whole[33:],
        "of empty data": whole[:33] + make.png_chunk(b"IDAT", b"") + make.png_chunk(b"IEND", b""),
        "of data that is none": whole[:33]
        + make.png_chunk(b"IDAT", bytes(90))
        + make.png_chunk(b"IEND", b""),
        "of a palette of 300": whole[:33] + make.png_chunk(b"PLTE", bytes(900)) + whole[33:],
        "of half a palette colour": whole[:33] + make.png_chunk(b"PLTE", bytes(4)) + whole[33:],
        "of gamma 0": whole[:33] + make.png_chunk(b"gAMA", bytes(4)) + whole[33:],
        "of white nowhere": whole[:33] + make.png_chunk(b"cHRM", bytes(32)) + whole[33:],
        "of no metres": whole[:33] + make.png_chunk(b"pHYs", bytes(9)) + whole[33:],
        "of 20,000 chunks": whole[:33] + make.png_chunk(b"tEXt", b"k\0v") * 20_000 + whole[33:],
        "of 120,000 chunks": whole[:33] + make.png_chunk(b"tEXt", b"") * 120_000 + whole[33:],
        "of a header twice": whole[:33] + whole[8:33] + whole[33:],
        "of a header last": whole[:8] + whole[33:] + whole[8:33],
        "smaller than it says": whole[:16] + struct.pack(">II", 4000, 4000) + whole[24:],
        "larger than it says": whole[:16] + struct.pack(">II", 4, 4) + whole[24:],
        "interlaced in no known way": whole[:28] + b"\7" + whole[29:],
        "of data behind its end": whole[:idat] + make.png_chunk(b"IEND", b"") + whole[idat:],
        "of metadata that is none": whole[:idat] + make.png_chunk(b"eXIf", bytes(300)) + whole[idat:],
    }
    for name, data in changed.items():
        yield Case(f"PNG {name}", partial(bytes, data), ANY)


def cut() -> Iterator[Case]:
    for kind in KINDS:
        whole = photo(kind)
        for tenths in range(10):
            yield Case(
                f"{kind} cut at {tenths} tenths", partial(bytes, whole[: len(whole) * tenths // 10]), BAD
            )
    webp = photo("WEBP")
    for name, size in (("too little", 10), ("too much", 2**31), ("everything", 2**32 - 1)):
        yield Case(
            f"WebP that says {name}", partial(bytes, webp[:4] + struct.pack("<I", size) + webp[8:]), ANY
        )
    canvas = b"RIFF%sWEBPVP8X\x0a\0\0\0\0\0\0\0%s"
    for side in (1, 16_384):
        sides = struct.pack("<I", side - 1)[:3] * 2
        body = canvas % (struct.pack("<I", len(webp) + 10), sides) + webp[12:]
        yield Case(f"WebP on a canvas of {side}", partial(bytes, body), BAD)


def flipped() -> Iterator[Case]:
    """Bytes changed at random: nobody knows what they are now."""
    for number in range(15):
        for kind in KINDS:
            yield Case(f"{kind} with errors {number}", partial(_flipped, kind, number), ANY)


def _flipped(kind: str, seed: int) -> bytes:
    dice, data = random.Random(seed), bytearray(photo(kind))
    for _ in range(1 + seed):
        data[dice.randrange(4, len(data))] = dice.randrange(256)
    return bytes(data)


def foreign() -> Iterator[Case]:
    """What some library somewhere would open."""
    for kind in (
        "BMP",
        "TIFF",
        "ICO",
        "PPM",
        "TGA",
        "PCX",
        "PDF",
        "EPS",
        "JPEG2000",
        "DDS",
        "SGI",
        "AVIF",
    ):
        yield Case(f"a real {kind}", partial(photo, kind, (16, 16)), BAD)
    heads = {
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
        "SVG": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "XML": b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
        "HTML": b"<html><img src=x onerror=alert(1)></html>",
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90),
        "PSD": b"8BPS\0\1" + bytes(90),
        "FLI": bytes(4) + b"\x11\xaf" + bytes(120),
        "XPM": b'/* XPM */\nstatic char *a[] = {"9 9 1 1", "a c #fff"};',
        "MVG": b"push graphic-context\nviewbox 0 0 9 9\nfill 'url(https://a.example/\"|id\")'\n",
        "WMF": b"\xd7\xcd\xc6\x9a" + bytes(90),
        "QOI": b"qoif" + struct.pack(">IIBB", 9, 9, 3, 0) + bytes(90),
        "FITS": b"SIMPLE  =                    T" + b" " * 2850,
        "GZIP": zlib.compress(photo("PNG"), wbits=31),
        "ELF": b"\x7fELF" + bytes(90),
        "Python": b"import os; os.system('id')",
        "video": b"\0\0\0\x20ftypisom" + bytes(90),
        "RIFF that is no WebP": b"RIFF\x24\0\0\0WAVEfmt " + bytes(90),
        "zeros": bytes(1000),
        "nothing but a signature": make.PNG_SIGNATURE,
    }
    for name, data in heads.items():
        yield Case(f"a file of {name}", partial(bytes, data), BAD)
