"""The sizes that a picture file's first bytes promise, in each format; which format it is.

No decoder runs here, so the API can look at strangers' bytes: every loop is bounded by a count.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

Order = Literal["big", "little"]
PictureFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "ICO", "TIFF", "AVIF", "HEIF", "SVG"]

# A marker behind fill bytes; 00 (stuffing) and D0-D7 (restarts) belong to the entropy-coded data around them.
JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_BARE, JPEG_SEQUENTIAL, JPEG_BODY = frozenset({0x01, 0xD8}), frozenset({0xC0, 0xC1}), (0xD9, 0xDA)
# Far above what encoders write: a file beyond these limits was made to keep a parser busy.
MAX_JPEG_SEGMENTS, MAX_JPEG_GAP, MAX_TIFF_TAGS, META_BYTES = 4_096, 65_536, 4_096, 2**22
# The sizes of all pictures in an AVIF or HEIF (ISO/IEC 23008-12, 6.5.3): of tiles, thumbnails and the whole.
BOX_SIZE = re.compile(rb"ispe\0{4}(.{4})(.{4})", re.DOTALL)
SVG_TAG = re.compile(rb"<svg\b[^>]{0,9999}", re.IGNORECASE)
SVG_SIDE = rb"""\s%s=["']\s*([\d.]+)(px|pt|pc|mm|cm|in|em|ex|)["'\s]"""
SVG_SIDES = [re.compile(SVG_SIDE % side) for side in (b"width", b"height")]
SVG_BOX = re.compile(rb"""\sviewBox=["']\s*[-\d.e]+[\s,]+[-\d.e]+[\s,]+([\d.]+)[\s,]+([\d.]+)""")
SVG_UNITS = {"pt": 4 / 3, "pc": 16, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96, "em": 16, "ex": 8}
# That of a browser, for an SVG that says nothing of its size.
SVG_SIZE = (300, 150)
COEFFICIENT_BYTES = 2
# What a HEIF has that takes more: not 8 bits in grey or 4:2:0 (ISO/IEC 14496-15, 8.3.3.1.2), or alpha.
HEAVY = re.compile(rb"hvcC.{16}(?![\xfc\xfd]\xf8)|auxid:1\0|auxiliary:alpha\0", re.DOTALL)
# Bytes of a pixel that is copied while it is decoded: of a WebP, a lossless one, and an AVIF or HEIF;
# of a HEIF that is not heavy, those that stay and those beside them.
WEBP_BYTES, LOSSLESS_BYTES, BOX_BYTES, HEVC_BYTES = 12, 13.5, 7.4, (6.3, 1.0)
# Pixels that are decoded, and whose colours are converted, at a time.
BAND = 2**20
# What a TIFF's tags mean, and what holds if they are missing.
BITS, SAMPLES, STRIP_LENGTH, PLANES, TILE_LENGTH = 258, 277, 278, 284, 323
TIFF_TAGS = {256: 0, 257: 0, BITS: 1, SAMPLES: 1, STRIP_LENGTH: 2**32, PLANES: 1, TILE_LENGTH: 0}


class Header(NamedTuple):
    """The size, the bytes of a decoded pixel, and those that its decoder holds `beside` it until it is done.

    `band` rows can be decoded at a time (`shared/media/picture_bands.py`); 0: only all.
    """

    width: int
    height: int
    pixel: float = 4
    beside: float = 0
    band: int = 0


class MalformedError(Exception):
    """It cannot be used; the message names what is wrong."""


def picture_format(data: bytes) -> PictureFormat | None:
    """None if the first bytes are those of no accepted kind."""
    return next((kind for kind, (magic, _) in READERS.items() if magic.match(data)), None)


def header_of(kind: PictureFormat, data: bytes) -> Header:
    """Raises MalformedError, IndexError where the data end first."""
    return READERS[kind][1](data)


def _read_jpeg(data: bytes) -> Header:
    """ITU-T T.81 annex B, up to the frame header."""
    at = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        position = JPEG_MARKER.search(data, at, at + MAX_JPEG_GAP)
        if position is None or position[1][0] in JPEG_BODY:
            break
        marker, at = position[1][0], position.end()
        if marker in JPEG_FRAMES:
            width, height = integer_at(data, at + 5, 2, "big"), integer_at(data, at + 3, 2, "big")
            areas = [(sides >> 4) * (sides & 15) for sides in data[at + 9 : at + 8 + 3 * data[at + 7] : 3]]
            samples = 0 if marker in JPEG_SEQUENTIAL else sum(areas) / max(1, *areas)
            return Header(width, height, beside=COEFFICIENT_BYTES * samples)
        at += 0 if marker in JPEG_BARE else integer_at(data, at, 2, "big")
    raise MalformedError("it is cut short" if at >= len(data) else "it has no frame header")


def _read_png(data: bytes) -> Header:
    """PNG specification, 11.2.1: a pixel has several samples in the kinds of colour 2, 4 and 6."""
    bits, colour, interlaced = data[24], data[25], data[28]
    pixel, band = (4, 1 - interlaced) if colour in (2, 4, 6) else (bits // 8 or 1, 0)
    return _read_sides(16, 4, "big", data)._replace(pixel=pixel, band=band * ((bits, colour) != (16, 4)))


def _read_webp(data: bytes) -> Header:
    """RFC 9649: the size stands in the first chunk, whichever of the three it is."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (integer_at(data, at, 3, "little") + 1 for at in (24, 27))
        return Header(width, height, beside=LOSSLESS_BYTES)
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = integer_at(data, 21, 4, "little")
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, beside=LOSSLESS_BYTES)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        bits = integer_at(data, 26, 4, "little")
        return Header(bits & 0x3FFF, bits >> 16 & 0x3FFF, beside=WEBP_BYTES)
    raise MalformedError("its WebP header is damaged")


def _read_sides(at: int, length: int, order: Order, data: bytes) -> Header:
    return Header(integer_at(data, at, length, order), integer_at(data, at + length, length, order), 1)


def _read_bmp(data: bytes) -> Header:
    """The height is negative where the first row is the upper one."""
    length = 2 if data[14] == 12 else 4
    width, height = (integer_at(data, 18 + at, length, "little") for at in (0, length))
    pixel = 1 if data[24 if length == 2 else 28] <= 8 else 4
    return Header(width, min(height, 2**32 - height) if length == 4 else height, pixel)


def icon(data: bytes) -> tuple[Header, bytes]:
    """Return the header and bytes of an ICO's largest picture, which is shown; a side of 256 is a 0."""
    sides = [(data[at] or 256, data[at + 1] or 256, at) for at in range(6, 6 + 16 * data[4], 16)]
    width, height, at = max(sides, key=lambda entry: entry[0] * entry[1])
    inner = data[integer_at(data, at + 12, 4, "little") :]
    # A PNG may be larger than the ICO says.
    return (_read_png(inner) if picture_format(inner) == "PNG" else Header(width, height)), inner


def _read_tiff(data: bytes) -> Header:
    """TIFF 6.0, section 2, and BigTIFF, whose numbers have eight bytes."""
    order: Order = "little" if data[:1] == b"I" else "big"
    word, count, entry = (8, 8, 20) if b"+" in data[2:4] else (4, 2, 12)
    at, tags = integer_at(data, word, word, order), TIFF_TAGS.copy()
    for number in range(min(integer_at(data, at, count, order), MAX_TIFF_TAGS)):
        tag, kind = (integer_at(data, at + count + entry * number + by, 2, order) for by in (0, 2))
        if tag in tags:
            value, length = at + count + entry * number + 4 + word, 2 if kind == 3 else word
            if integer_at(data, value - word, word, order) * length > word:
                value = integer_at(data, value, word, order)
            tags[tag] = integer_at(data, value, length, order)
    if not tags[256] * tags[257]:
        raise MalformedError("its TIFF header is damaged")
    depth, length = tags[BITS] * tags[SAMPLES], tags[TILE_LENGTH] or tags[STRIP_LENGTH]
    # Decoding some rows of large tiles takes more memory than decoding all of them.
    band = length if depth > 8 and tags[PLANES] == 1 and 12 * length < tags[257] else 0
    return Header(tags[256], tags[257], 1 if depth <= 8 else 4, 0 if band else depth / 8, band)


def _read_box(data: bytes) -> Header:
    sizes = [tuple(map(int.from_bytes, match)) for match in BOX_SIZE.findall(data, 0, META_BYTES)]
    if not sizes:
        raise MalformedError("it does not say how large it is")
    width, height = max(sizes, key=math.prod)
    plain = data.find(b"hvcC", 0, META_BYTES) > 0 and not HEAVY.search(data, 0, META_BYTES)
    pixel, beside = HEVC_BYTES if plain else (4, BOX_BYTES)
    return Header(width, height, pixel, beside)


def _read_svg(data: bytes) -> Header:
    """As large as a browser shows it: a side that is not given follows from the shape."""
    tag = SVG_TAG.search(data, 0, META_BYTES)
    head = tag[0] if tag else b""
    box = SVG_BOX.search(head)
    try:
        across, down = map(float, box.groups()) if box else SVG_SIZE
        width, height = (
            float(side[1]) * SVG_UNITS.get(side[2].decode(), 1) if side else None
            for side in (pattern.search(head) for pattern in SVG_SIDES)
        )
        width = (across if height is None else height * across / down) if width is None else width
        height = width * down / across if height is None else height
        return Header(math.ceil(width), math.ceil(height))
    except (ValueError, OverflowError, ZeroDivisionError):
        raise MalformedError("its size is no number") from None


def integer_at(data: bytes, at: int, length: int, order: Order) -> int:
    """Raises IndexError where the data end first."""
    if at + length > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + length], order)


READERS: dict[PictureFormat, tuple[re.Pattern[bytes], Callable[[bytes], Header]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), _read_jpeg),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n.{4}IHDR", re.DOTALL), _read_png),
    "WEBP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _read_webp),
    "GIF": (re.compile(rb"GIF8[79]a"), partial(_read_sides, 6, 2, "little")),
    "BMP": (re.compile(rb"BM.{12}[\x0c-\x80]\0\0\0", re.DOTALL), _read_bmp),
    "ICO": (re.compile(rb"\0\0[\x01\x02]\0[^\0]\0"), lambda data: icon(data)[0]),
    "TIFF": (re.compile(rb"II[*+]\0|MM\0[*+]"), _read_tiff),
    "AVIF": (re.compile(rb".{4}ftypavi[fs]", re.DOTALL), _read_box),
    "HEIF": (re.compile(rb".{4}ftyp(?:hei[cmsx]|hev[cx]|mif1|msf1)", re.DOTALL), _read_box),
    # Before the first element may stand a declaration, comments and a type.
    "SVG": (
        re.compile(
            rb"(?:\xef\xbb\xbf)?\s{0,99}+<(?:svg\b|(?!!doctype html)[?!].{0,4096}?<svg\b)", re.S | re.I
        ),
        _read_svg,
    ),
}
"""The first bytes of each kind, and what reads the size."""
