"""Pictures that are easily mistaken for what they are not, each with what must become of it."""

import base64
import struct
import zlib
from collections.abc import Iterator
from functools import partial

from tests.safety.case import ANY, BAD, KINDS, SIZE, Case, photo
from tests.support import pictures as make

METADATA = {
    "cut": b"Exif\0\0MM\0*\0\0",
    "of a loop": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x08\0\0\0",
    "of too much": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(600),
    "of a count without end": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\xff\xff\xff\xff",
    "of text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\x00abc\0\0\0\0\0",
    "of nonsense": b"Exif\0\0" + bytes(range(256)),
}
TAILS = {
    "a ZIP": b"PK\x03\x04" + bytes(100) + b"PK\x05\x06" + bytes(18),
    "a script": b"<script>alert(1)</script>",
    "a PDF": b"%PDF-1.7\n%%EOF",
    "another picture": photo("PNG"),
    "a megabyte": bytes(2**20),
}
WHOLE = base64.b64encode(photo("PNG")).decode()
DRESSES = {
    "bare": WHOLE,
    "as a data URI": f"data:image/png;base64,{WHOLE}",
    "as a data URI in a data URI": f"data:image/png;base64,data:image/png;base64,{WHOLE}",
    "as a data URI of another kind": f"data:image/svg+xml;base64,{WHOLE}",
    "as a data URI with parameters": f"data:image/png;name=a.png;charset=utf-8;base64,{WHOLE}",
    "in capitals": f"DATA:IMAGE/PNG;BASE64,{WHOLE}",
    "in lines": "\r\n".join(WHOLE[at : at + 76] for at in range(0, len(WHOLE), 76)),
    "without padding": WHOLE.rstrip("="),
    "for URLs": WHOLE.replace("+", "-").replace("/", "_"),
    "escaped": "data:image/png;base64," + WHOLE.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
    "between blanks": f"  {WHOLE}\n\t",
}
TRAPS = (
    "data:,hello", "data:image/png,hello", "data:text/html;base64,PGI+", "data:;base64,AAAA", "data:image/png;base64,",
    "data:image/png;base64,====", "data:image/png;base64,A", "data:image/png;base64,AAAA====AAAA", "data:" * 2000,
    "data:image/png;base64,%00%00", "data:image/png;base64," + "%41" * 5000, "data:image/png;base64,\0\0\0\0",
    "data:image/" + "a" * 5000 + ";base64,AAAA",
    "data:image/png;base64," + "=" * 100_000, "A" * 1_000_000, "А" * 1000, "iVBORw0KGgo", "", " ", "\0", "a.png",
    "/etc/passwd", "../../etc/passwd", "C:\\a.png", "\\\\host\\share\\a.png", "~/.ssh/id_rsa", "./a.png",
    base64.b64encode(WHOLE.encode()).decode(), WHOLE[:-8] + "!" + WHOLE[-7:], "\ufeff" + WHOLE,
)  # fmt: skip
HEADS = {
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


def cases() -> Iterator[Case]:
    for group in (described, wrapped, animated, foreign):
        yield from group()


def described() -> Iterator[Case]:
    for name, exif_bytes in METADATA.items():
        yield Case(f"metadata {name}", partial(photo, "JPEG", exif=exif_bytes), ANY)
    yield Case("a profile of megabytes", partial(photo, "PNG", icc_profile=bytes(3_000_000)), ANY)


def wrapped() -> Iterator[Case]:
    """Two things in one file, and pictures in every dress that text gives them."""
    for kind in KINDS:
        for name, tail in TAILS.items():
            yield Case(f"{kind} and {name}", partial(_joined, kind, tail), SIZE)
    for name, text in DRESSES.items():
        yield Case(f"text {name}", partial(str, text), SIZE)
    for number, text in enumerate(TRAPS):
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
    yield Case("GIF of 300,000 comments", lambda: _commented(300_000), SIZE)


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


def foreign() -> Iterator[Case]:
    """What some library somewhere would open."""
    for kind in ("BMP", "TIFF", "ICO", "AVIF"):
        yield Case(f"a real {kind}", partial(photo, kind, (16, 16)), (16, 16))
    # Its pages are shown.
    yield Case("a real PDF", partial(photo, "PDF", (16, 16)), ANY)
    for kind in ("PPM", "TGA", "PCX", "EPS", "JPEG2000", "DDS", "SGI"):
        yield Case(f"a real {kind}", partial(photo, kind, (16, 16)), BAD)
    for name, data in HEADS.items():
        yield Case(f"a file of {name}", partial(bytes, data), BAD)
