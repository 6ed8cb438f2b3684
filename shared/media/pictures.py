"""What a picture file says about itself, read from its first bytes alone.

No decoder runs here, so the API can look at strangers' bytes: every loop is bounded by a count, and the
pixels that a few header bytes promise are checked before anything allocates for them (`_check` refuses a
decompression bomb). A decoder finds out the rest.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, cast

from shared.errors import CallerError
from shared.media.kinds import Kind
from shared.media.sizes import Room, Size, room_for
from shared.request import Image, Look
from shared.settings import PictureSettings

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
# Bytes that a decoder holds for each pixel: Pillow four, and four as it is shown; others several copies.
PILLOW_BYTES, COPIES_BYTES, COEFFICIENT_BYTES = 4, 22, 6
COPYING = frozenset({"WEBP", "AVIF", "HEIF"})
# How much smaller a JPEG can be decoded.
DRAFTS = (1, 2, 4, 8)
# The part of a decoder's memory that is not pixels: the file and metadata.
BESIDE_PIXELS_MB = 24


@dataclass(frozen=True)
class PictureInfo:
    """Size in pixels as stored: an EXIF orientation may still swap width and height.

    Decoding takes about `memory` bytes, for a JPEG at a `draft` of its size; `param` names where in the
    request the picture stood.
    """

    format: PictureFormat
    width: int
    height: int
    memory: int = field(default=0, compare=False)
    draft: int = field(default=1, compare=False)
    param: str | None = field(default=None, compare=False)

    @property
    def size(self) -> Size:
        return self.width, self.height

    @property
    def media_type(self) -> str:
        return f"image/{self.format.lower()}".replace("svg", "svg+xml")


class Header(NamedTuple):
    """`coefficients` are bytes that the decoder of a progressive JPEG keeps for each pixel."""

    width: int
    height: int
    coefficients: int = 0


class MalformedError(Exception):
    """It cannot be used; the message names what is wrong."""


def picture_format(data: bytes) -> PictureFormat | None:
    """None if the first bytes are those of no accepted kind."""
    return next((kind for kind, (magic, _) in READERS.items() if magic.match(data)), None)


PICTURE = Kind(
    "picture",
    "invalid_image",
    "invalid_image_url",
    "a JPEG, PNG, WebP, GIF, HEIC, AVIF, BMP, ICO, TIFF or SVG",
    "image/png, image/jpeg, image/webp, image/gif",
    picture_format,
)


def inspect(data: bytes, limits: PictureSettings, param: str | None) -> PictureInfo:
    """Read the header of one picture; of several in a file the first counts.

    Raises CallerError: `payload_too_large` for too many bytes, `invalid_image` for all else, never quoting
    the picture.
    """
    kind = cast(PictureFormat, PICTURE.check(data, limits, param))
    try:
        header = READERS[kind][1](data)
        _check(kind, header, limits)
        draft, memory = _memory(kind, header, limits)
    except MalformedError as error:
        raise PICTURE.invalid(str(error), param) from None
    except IndexError:
        raise PICTURE.invalid("it is cut short", param) from None
    return PictureInfo(kind, header.width, header.height, memory, draft, param)


def rooms(sizes: Sequence[Size], shown: Sequence[Look], limits: PictureSettings) -> list[Room]:
    """How large each picture of a request is shown, where they have these sizes and are to be `shown` so."""
    wishes = [Room(math.inf, look.max_pixels or math.inf, look.min_pixels or 0) for look in shown]
    each = room([wish.fitted(size) for wish, size in zip(wishes, sizes, strict=True)], limits)
    return [Room(each.side, min(each.pixels, wish.pixels), wish.least) for wish in wishes]


def check_look(image: Image, limits: PictureSettings) -> None:
    """Raises CallerError `invalid_request` for fewer pixels than none, or more than any picture may have."""
    least, most = image.min_pixels or 0, image.max_pixels or math.inf
    bound, name = limits.max_megapixels * 1e6, "MAX_MEGAPIXELS"
    if limits.max_side is not None:
        bound, name = limits.max_side**2, "MAX_SIDE"
    if least > min(most, bound):
        more = f"is more than `max_pixels` ({most})"
        above = f"may be {bound:.0f} at most (SIGHTLINE_PICTURES__{name})"
        message = f"`min_pixels` ({least}) {more if least > most else above}."
        raise CallerError("invalid_request", message, param="min_pixels")


def room(sizes: Sequence[Size], limits: PictureSettings) -> Room:
    """The most of each picture of a request, where they have these sizes."""
    if limits.max_side is not None:
        return room_for(sizes, Room(limits.max_side, limits.max_side**2), limits.max_side**2)
    each = limits.max_megapixels * 1e6
    return room_for(sizes, Room(longest_side(limits), each), limits.max_megapixels_request * 1e6)


def decoding(
    info: PictureInfo, room: Room, limits: PictureSettings, *, thumbnail: bool = False, background: str = ""
) -> dict[str, Any]:
    """What `decode_picture` is asked."""
    draft = room.fitted(info.size) if thumbnail else (info.width // info.draft, info.height // info.draft)
    return {
        **room._asdict(),
        "format": info.format,
        "size": info.size,
        "draft": draft if thumbnail or info.draft > 1 else None,
        "most": limits.max_megapixels_sent * 1e6,
        "thumbnail": thumbnail,
        "background": background or "white",
    }


def longest_side(limits: PictureSettings) -> int:
    """Pixels of a side, which the largest picture of 16:10 has.

    Some image processors pad a picture to a square before they resize it (LLaVA's `do_pad`): a file of a few
    kilobytes, 40000 x 800, would take gigabytes.
    """
    return math.isqrt(int(limits.max_megapixels * 1.6e6))


def check_sizes(sizes: Iterable[tuple[int, str]], limits: PictureSettings) -> None:
    """`sizes` are bytes and place of each. Raises CallerError `payload_too_large`."""
    remaining = int(limits.max_mb_request * 2**20)
    for size, param in sizes:
        if (remaining := remaining - size) < 0:
            most = f"{limits.max_mb_request:g} MiB together (SIGHTLINE_PICTURES__MAX_MB_REQUEST)"
            message = f"The pictures of a request may have {most}. Leave out earlier ones."
            raise CallerError("payload_too_large", message, param=param)


def _check(kind: PictureFormat, header: Header, limits: PictureSettings) -> None:
    width, height, _ = header
    size = f"it has {width} x {height} pixels"
    if not width * height:
        raise MalformedError(size)
    # An SVG is drawn at the size at which it is shown.
    if kind != "SVG" and width * height > limits.max_megapixels_sent * 1e6:
        most = f"at most {limits.max_megapixels_sent:g} megapixels are accepted"
        raise MalformedError(f"{size}; {most} (SIGHTLINE_PICTURES__MAX_MEGAPIXELS_SENT)")
    if max(width, height) > limits.max_ratio * min(width, height):
        most = f"one side may be at most {limits.max_ratio:g} times the other"
        raise MalformedError(f"{size}; {most} (SIGHTLINE_PICTURES__MAX_RATIO)")


def _memory(kind: PictureFormat, header: Header, limits: PictureSettings) -> tuple[int, int]:
    """At which draft a picture is decoded: no smaller than it is shown, if memory allows; and its memory."""
    room_bytes, pixels = (limits.decode_memory_mb - BESIDE_PIXELS_MB) * 2**20, header.width * header.height
    shown = min(pixels, limits.max_megapixels * 1e6)
    for draft in DRAFTS if kind == "JPEG" else DRAFTS[:1]:
        decoded = pixels / draft**2
        if kind == "JPEG" and draft < DRAFTS[-1] and decoded / 4 >= limits.max_megapixels * 1e6:
            continue
        memory = PILLOW_BYTES * decoded + max(
            PILLOW_BYTES * min(decoded, shown), header.coefficients * pixels
        )
        if kind in COPYING:
            memory = COPIES_BYTES * pixels
        if kind == "SVG":
            memory = 3 * PILLOW_BYTES * shown
        if memory <= room_bytes:
            return draft, int(memory)
    need = f"decoding {header.width} x {header.height} pixels of this kind takes {memory / 2**20:.0f} MiB"
    raise MalformedError(f"{need}, more than a decoder may have (SIGHTLINE_PICTURES__DECODE_MEMORY_MB)")


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
            return Header(width, height, 0 if marker in JPEG_SEQUENTIAL else COEFFICIENT_BYTES)
        at += 0 if marker in JPEG_BARE else integer_at(data, at, 2, "big")
    raise MalformedError("it is cut short" if at >= len(data) else "it has no frame header")


def _read_webp(data: bytes) -> Header:
    """RFC 9649: the size stands in the first chunk, whichever of the three it is."""
    kind = data[12:16]
    if kind == b"VP8X":
        return Header(integer_at(data, 24, 3, "little") + 1, integer_at(data, 27, 3, "little") + 1)
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = integer_at(data, 21, 4, "little")
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        bits = integer_at(data, 26, 4, "little")
        return Header(bits & 0x3FFF, bits >> 16 & 0x3FFF)
    raise MalformedError("its WebP header is damaged")


def _read_sides(at: int, length: int, order: Order, data: bytes) -> Header:
    return Header(integer_at(data, at, length, order), integer_at(data, at + length, length, order))


def _read_bmp(data: bytes) -> Header:
    """The height is negative where the first row is the upper one."""
    length = 2 if data[14] == 12 else 4
    width, height = (integer_at(data, 18 + at, length, "little") for at in (0, length))
    return Header(width, min(height, 2**32 - height) if length == 4 else height)


def _read_ico(data: bytes) -> Header:
    """The largest of its pictures is shown; a side of 256 is written as 0."""
    sides = [(data[at] or 256, data[at + 1] or 256) for at in range(6, 6 + 16 * data[4], 16)]
    return Header(*max(sides, key=math.prod))


def _read_tiff(data: bytes) -> Header:
    """TIFF 6.0, section 2, and BigTIFF, whose numbers have eight bytes."""
    order: Order = "little" if data[:1] == b"I" else "big"
    word, count, entry = (8, 8, 20) if b"+" in data[2:4] else (4, 2, 12)
    at, sides = integer_at(data, word, word, order), dict[int, int]()
    for number in range(min(integer_at(data, at, count, order), MAX_TIFF_TAGS)):
        tag, kind = (integer_at(data, at + count + entry * number + by, 2, order) for by in (0, 2))
        if tag in (256, 257):
            value = at + count + entry * number + 4 + word
            sides[tag] = integer_at(data, value, 2 if kind == 3 else word, order)
    if len(sides) < 2:
        raise MalformedError("its TIFF header is damaged")
    return Header(sides[256], sides[257])


def _read_box(data: bytes) -> Header:
    sizes = [tuple(map(int.from_bytes, match)) for match in BOX_SIZE.findall(data, 0, META_BYTES)]
    if not sizes:
        raise MalformedError("it does not say how large it is")
    return Header(*max(sizes, key=math.prod))


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
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n.{4}IHDR", re.DOTALL), partial(_read_sides, 16, 4, "big")),
    "WEBP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _read_webp),
    "GIF": (re.compile(rb"GIF8[79]a"), partial(_read_sides, 6, 2, "little")),
    "BMP": (re.compile(rb"BM.{12}[\x0c-\x80]\0\0\0", re.DOTALL), _read_bmp),
    "ICO": (re.compile(rb"\0\0[\x01\x02]\0[^\0]\0"), _read_ico),
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
