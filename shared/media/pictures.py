"""What a picture file says about itself, read from its structure alone.

No decoder runs here, so the API can look at strangers' bytes: every loop is bounded by a count, and what a
few header bytes promise (pixels, scans) is checked before anything allocates for it. A file cut short is
refused where its structure shows it; bytes behind a picture's end are common and harmless.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal

from shared.errors import CallerError
from shared.settings import PictureSettings

PictureFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "ICO", "TIFF", "AVIF", "HEIF", "SVG"]

PDF_START = b"%PDF-"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
IS_DOCUMENT = (
    "is a document, which goes into a `file` part (chat), an `input_file` (Responses) or a `document` (jobs)"
)
MAGIC: dict[PictureFormat, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM.{12}[\x0c-\x80]\0\0\0", re.DOTALL),
    "ICO": re.compile(rb"\0\0\x01\0[^\0]\0"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "AVIF": re.compile(rb".{4}ftypavi[fs]", re.DOTALL),
    "HEIF": re.compile(rb".{4}ftyp(?:hei[cmsx]|hev[cx]|mif1|msf1)", re.DOTALL),
    # Before the first element may stand a declaration, comments and a type.
    "SVG": re.compile(
        rb"(?:\xef\xbb\xbf)?\s{0,99}+<(?:svg\b|(?!!doctype html)[?!].{0,4096}?<svg\b)", re.DOTALL | re.I
    ),
}
"""The first bytes of each kind."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A marker behind fill bytes; 00 (stuffing) and D0-D7 (restarts) belong to the entropy-coded data around them.
JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_BARE = frozenset({0x01, 0xD8})
JPEG_SEQUENTIAL = frozenset({0xC0, 0xC1})
JPEG_SCAN, JPEG_END = 0xDA, 0xD9
WINDOW = 2**18
# Far above what encoders write: a file beyond these limits was made to keep a parser busy.
MAX_JPEG_SEGMENTS = 4_096
MAX_JPEG_GAP = 65_536
MAX_PNG_CHUNKS = 100_000
MAX_GIF_BLOCKS = 200_000
# How often a decoder may pass over the largest pictures; encoders write ten scans or so.
LARGEST_SCANS = 20
# Bytes that a decoder holds for each pixel: Pillow four, twice where colours are converted or it is turned;
# libwebp several copies.
PILLOW_BYTES, WEBP_BYTES = 4, 20
# How much larger than the pixels of a request the squares around its pictures may be together.
SQUARES = 4
# The part of a decoder's memory that is not pixels: the file and metadata.
BESIDE_PIXELS_MB = 24


@dataclass(frozen=True)
class PictureInfo:
    """Size in pixels as stored: an EXIF orientation may still swap width and height.

    `coefficients` are the bytes that a JPEG's decoder keeps for each pixel until the last scan; `param` names
    where in the request the picture stood.
    """

    format: PictureFormat
    width: int
    height: int
    scans: int = 1
    coefficients: float = 0.0
    param: str | None = field(default=None, compare=False)

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def work(self) -> int:
        """Pixels that the decoder passes over, in all scans."""
        return self.pixels * self.scans

    @property
    def memory(self) -> int:
        """Bytes that decoding it takes, about."""
        pillow = PILLOW_BYTES + max(PILLOW_BYTES, self.coefficients)
        each = WEBP_BYTES if self.format == "WEBP" else pillow
        return int(self.pixels * each)


class MalformedError(Exception):
    """The structure is not that of a whole picture; the message names what is wrong."""


def inspect(data: bytes, limits: PictureSettings, param: str | None) -> PictureInfo:
    """Read the headers of one picture; of an animation only the first frame counts.

    Costs at most some 0.2 s for 20 MB made to be slow. Raises CallerError: `payload_too_large` for too many
    bytes, `invalid_image` for all else, never quoting the picture.
    """
    if len(data) > limits.max_mb * 2**20:
        message = f"A picture may have at most {limits.max_mb:g} MiB."
        raise CallerError("payload_too_large", message, param=param)
    try:
        info = _read(data)
        _check(info, limits)
    except MalformedError as error:
        raise CallerError("invalid_image", f"The picture cannot be used: {error}.", param=param) from None
    return replace(info, param=param)


def picture_format(data: bytes) -> PictureFormat | None:
    """None if the first bytes are those of no accepted kind."""
    return next((kind for kind, magic in MAGIC.items() if magic.match(data)), None)


def check_request(infos: Sequence[PictureInfo], limits: PictureSettings) -> None:
    """Refuse pictures that are each acceptable but together too much.

    Raises CallerError `invalid_image` naming the first picture that is one too many.
    """
    if len(infos) > limits.max_count:
        message = f"The request has {len(infos)} pictures; at most {limits.max_count} are accepted."
        raise CallerError("invalid_image", message, param=infos[limits.max_count].param)
    if limits.max_side is None:
        _check_squares(infos, limits)
    sums = [pixels / 1e6 for pixels in accumulate(info.pixels for info in infos)]
    work = accumulate(info.work / 1e6 for info in infos)
    for info, megapixels, passes in zip(infos, sums, work, strict=True):
        if megapixels > limits.max_megapixels_request:
            message = (
                f"The request's pictures have {sums[-1]:.1f} megapixels together; "
                f"at most {limits.max_megapixels_request:g} are accepted."
            )
            raise CallerError("invalid_image", message, param=info.param)
        if passes > limits.max_megapixels_request * LARGEST_SCANS:
            message = "The request's pictures have too many scans for their size together."
            raise CallerError("invalid_image", message, param=info.param)


def _check_squares(infos: Sequence[PictureInfo], limits: PictureSettings) -> None:
    """A processor that pads pictures to squares takes time for each, and some hold all of them at once."""
    squares = accumulate(max(info.width, info.height) ** 2 / 1e6 for info in infos)
    for info, megapixels in zip(infos, squares, strict=True):
        if megapixels > limits.max_megapixels_request * SQUARES:
            message = "The request's pictures are too long together: cut or shrink some, or send fewer."
            raise CallerError("invalid_image", message, param=info.param)


def longest_side(limits: PictureSettings) -> int:
    """Pixels of a side, which the largest picture of 16:10 has.

    Some image processors pad a picture to a square before they resize it (LLaVA's `do_pad`): a file of a few
    kilobytes, 40000 x 800, would take gigabytes.
    """
    return math.isqrt(int(limits.max_megapixels * 1.6e6))


def check_sizes(sizes: Iterable[tuple[int, str]], limits: PictureSettings) -> None:
    """`sizes` are bytes and place of each. Raises CallerError `payload_too_large` as `check_request`."""
    remaining = int(limits.max_mb_request * 2**20)
    for size, param in sizes:
        if (remaining := remaining - size) < 0:
            message = f"The pictures of a request may have {limits.max_mb_request:g} MiB together."
            raise CallerError("payload_too_large", message, param=param)


def _read(data: bytes) -> PictureInfo:
    if not data:
        raise MalformedError("it is empty")
    for magic, read in READERS:
        if magic.match(data):
            try:
                return read(data)
            except IndexError:
                raise MalformedError("it is cut short") from None
    if data.startswith((PDF_START, *TIFF_STARTS)):
        raise MalformedError(f"it {IS_DOCUMENT}")
    raise MalformedError("it is not a PNG, JPEG, WebP or GIF")


def _check(info: PictureInfo, limits: PictureSettings) -> None:
    size = f"{info.width} x {info.height} pixels"
    if not info.pixels:
        raise MalformedError(f"it has {size}")
    if info.pixels > limits.max_megapixels * 1e6:
        raise MalformedError(f"it has {size}; at most {limits.max_megapixels:g} megapixels are accepted")
    if limits.max_side is None and max(info.width, info.height) > (most := longest_side(limits)):
        raise MalformedError(f"it has {size}; a side may have {most}. Cut it or shrink it")
    if max(info.width, info.height) > limits.max_ratio * min(info.width, info.height):
        raise MalformedError(f"it has {size}; one side may be at most {limits.max_ratio:g} times the other")
    if info.scans > limits.max_jpeg_scans:
        raise MalformedError(f"it has {info.scans} scans; at most {limits.max_jpeg_scans} are accepted")
    if info.work > limits.max_megapixels * 1e6 * LARGEST_SCANS:
        raise MalformedError(f"it has {info.scans} scans, too many for {size}")
    if info.memory > (limits.decode_memory_mb - BESIDE_PIXELS_MB) * 2**20:
        memory = f"{info.memory / 2**20:.0f} MiB, more than a decoder may have"
        raise MalformedError(f"decoding {size} of this kind takes {memory}")


def _read_jpeg(data: bytes) -> PictureInfo:
    """ITU-T T.81 annex B. Ends at the first end marker: an MPO's further pictures follow it."""
    frame: tuple[int, int] | None = None
    scans = 0
    for marker, body in _jpeg_segments(data):
        if marker == JPEG_SCAN:
            scans += 1
        elif marker in JPEG_FRAMES:
            if frame:
                raise MalformedError("it has two frame headers")
            frame = marker, body
    if not frame or not scans:
        raise MalformedError("it holds no picture data")
    marker, body = frame
    width, height = integer_at(data, body + 5, 2, "big"), integer_at(data, body + 3, 2, "big")
    coefficients = 0.0 if marker in JPEG_SEQUENTIAL and scans == 1 else _jpeg_coefficients(data, body)
    return PictureInfo("JPEG", width, height, scans, coefficients)


def _jpeg_coefficients(data: bytes, body: int) -> float:
    """Bytes a pixel: two for each component, less where it has fewer samples than the picture has pixels."""
    sampling = [data[body + 9 + 3 * number] for number in range(data[body + 7])]
    across, down = [factor >> 4 for factor in sampling], [factor & 15 for factor in sampling]
    most = max(across, default=0) * max(down, default=0)
    if not most:
        raise MalformedError("its frame header is damaged")
    return 2 * sum(x * y for x, y in zip(across, down, strict=True)) / most


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Each marker up to the end marker, with the offset of its length field."""
    at, in_scan = 2, False
    for _ in range(MAX_JPEG_SEGMENTS):
        position = _next_marker(data, at, len(data) if in_scan else min(len(data), at + MAX_JPEG_GAP))
        if not position:
            break
        marker, at = position[1][0], position.end()
        if marker == JPEG_END:
            return
        if marker in JPEG_BARE:
            continue
        yield marker, at
        at += integer_at(data, at, 2, "big")
        in_scan = in_scan or marker == JPEG_SCAN
    else:
        raise MalformedError("it has too many segments")
    if not in_scan and at + MAX_JPEG_GAP < len(data):
        raise MalformedError("it has a long gap between its headers")
    raise MalformedError("it is cut short")


def _next_marker(data: bytes, at: int, end: int) -> re.Match[bytes] | None:
    """Searches window by window: other threads wait during a search, and 20 MB take half a second."""
    for start in range(at, end, WINDOW):
        if match := JPEG_MARKER.search(data, start, min(end, start + WINDOW) + 1):
            return match
    return None


def _read_png(data: bytes) -> PictureInfo:
    """PNG (third edition), section 5; an APNG's further frames have chunks of their own."""
    at, has_pixels = len(PNG_SIGNATURE), False
    for number in range(MAX_PNG_CHUNKS):
        length, kind = integer_at(data, at, 4, "big"), data[at + 4 : at + 8]
        if (kind == b"IHDR") != (number == 0):
            raise MalformedError("its header chunk is missing or repeated")
        has_pixels = has_pixels or kind == b"IDAT"
        at += 12 + length
        if at > len(data):
            raise MalformedError("it is cut short")
        if kind == b"IEND":
            break
    else:
        raise MalformedError("it has too many chunks")
    if not has_pixels:
        raise MalformedError("it holds no picture data")
    return PictureInfo("PNG", integer_at(data, 16, 4, "big"), integer_at(data, 20, 4, "big"))


def _read_webp(data: bytes) -> PictureInfo:
    """RFC 9649: the size stands in the first chunk, whichever of the three it is."""
    if 8 + integer_at(data, 4, 4, "little") > len(data):
        raise MalformedError("it is cut short")
    kind = data[12:16]
    if kind == b"VP8X":
        return PictureInfo(
            "WEBP", integer_at(data, 24, 3, "little") + 1, integer_at(data, 27, 3, "little") + 1
        )
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = integer_at(data, 21, 4, "little")
        return PictureInfo("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        bits = integer_at(data, 26, 4, "little")
        return PictureInfo("WEBP", bits & 0x3FFF, bits >> 16 & 0x3FFF)
    raise MalformedError("its WebP header is damaged")


def _read_gif(data: bytes) -> PictureInfo:
    """GIF89a specification, section 17 on; only the first frame is measured."""
    width, height = integer_at(data, 6, 2, "little"), integer_at(data, 8, 2, "little")
    at = 13 + _gif_palette(data[10])
    budget = iter(range(MAX_GIF_BLOCKS))
    for _ in budget:
        block = data[at]
        if block == 0x3B:
            raise MalformedError("it holds no picture data")
        if block == 0x2C:
            x, y, across, down = (integer_at(data, at + offset, 2, "little") for offset in (1, 3, 5, 7))
            at = _skip_gif_blocks(data, at + 11 + _gif_palette(data[at + 9]), budget)
            if data.find(b";", at) < 0:
                raise MalformedError("it is cut short")
            return PictureInfo("GIF", max(width, x + across), max(height, y + down))
        at = _skip_gif_blocks(data, at + 2, budget) if block == 0x21 else at + 1
    raise MalformedError("it has too many blocks")


def _gif_palette(flags: int) -> int:
    """Bytes of the colour table that a packed field announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_gif_blocks(data: bytes, at: int, budget: Iterator[int]) -> int:
    for _ in budget:
        length = data[at]
        at += 1 + length
        if not length:
            return at
    raise MalformedError("it has too many blocks")


def integer_at(data: bytes, at: int, length: int, order: Literal["big", "little"]) -> int:
    """Raises IndexError where the data end first."""
    if at + length > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + length], order)


READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], PictureInfo]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), _read_jpeg),
    (re.compile(re.escape(PNG_SIGNATURE)), _read_png),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _read_webp),
    (re.compile(rb"GIF8[79]a"), _read_gif),
)
