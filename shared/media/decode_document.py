"""Renders documents in a child process (`shared.media.decode`): a file in, a PNG of a page out.

It keeps the last document open: its pages are asked for one by one, each under the limit of time. PDFium
comes without scripts and forms, and fetches nothing.
"""

import io
import math
from collections.abc import Callable, Iterator
from numbers import Real
from typing import NamedTuple

import pypdfium2 as pdfium
from PIL import Image, ImageSequence, TiffImagePlugin
from pypdfium2.raw import FPDF_ERR_PASSWORD, FPDF_PAGEOBJ_IMAGE, FPDF_GetLastError, FPDF_LoadMemDocument64

from shared.media.decode_picture import opened, to_rgb
from shared.media.decoder_protocol import DAMAGED, Facts, Reply, UnusableError
from shared.media.sizes import Size

POINTS_PER_INCH, MOST_DOTS_PER_INCH = 72, 300
# TIFF 6.0, section 8: of the subfile's type, bit 0 says that it is a smaller copy of another.
SUBFILE_TYPE, SMALLER_COPIES = 254, (1, 3, 5, 7)
RESOLUTION_ACROSS, RESOLUTION_DOWN = 282, 283
ORIENTATION, ON_THEIR_SIDE = 274, (5, 6, 7, 8)
# Faxes have up to four times as many dots to an inch one way; less is rounding, and more a mistake.
LEAST_OBLONG, MOST_OBLONG = 1.2, 4
# A longer page is cut into pieces that can be read; they overlap by a part of their length.
LONGEST_SHAPE, PIECE_SHAPE, OVERLAP, MOST_PIECES = 4, 2, 0.05, 100

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a piece, as parts of its page."""


def pieces(width: float, height: float) -> list[Box]:
    """What a page of a size is cut into, in reading order. Raises UnusableError."""
    if not (width > 0 and height > 0):
        raise UnusableError("it has no size")
    shape = max(width, height) / min(width, height)
    count = math.ceil(shape / PIECE_SHAPE) if shape > LONGEST_SHAPE else 1
    if count > MOST_PIECES:
        raise UnusableError(f"one side is more than {MOST_PIECES * PIECE_SHAPE} times the other")
    lap = OVERLAP / 2
    spans = [(max(0, n - lap) / count, min(count, n + 1 + lap) / count) for n in range(count)]
    return [(0, start, 1, end) if height > width else (start, 0, end, 1) for start, end in spans]


class PdfPages:
    def __init__(self, data: bytes) -> None:
        self._data = data
        # Not by pypdfium2, for which a document without pages fails with the error of an earlier one.
        opened = FPDF_LoadMemDocument64(data, len(data), None)
        if not opened:
            locked = FPDF_GetLastError() == FPDF_ERR_PASSWORD
            raise UnusableError("it needs a password; save it without one" if locked else DAMAGED)
        self._pdf = pdfium.PdfDocument(opened)
        # Before any page is loaded: else what was written into a form's fields is not drawn.
        self._pdf.init_forms()

    def __len__(self) -> int:
        return len(self._pdf)

    def page(self, number: int, piece: int, side: int) -> tuple[Image.Image, int]:
        """A piece of the page of a number from 1, and how many pieces it has. Raises UnusableError.

        The piece's longer side has at most `side` pixels.
        """
        page = self._pdf[number - 1]
        try:
            width, height = page.get_size()
            boxes = pieces(width, height)
            left, top, right, bottom = boxes[piece]
            longest = max((right - left) * width, (bottom - top) * height)
            scale = min(side / longest, MOST_DOTS_PER_INCH / POINTS_PER_INCH)
            margins = left * width, (1 - bottom) * height, (1 - right) * width, top * height
            bitmap = page.render(scale=scale, crop=margins, rev_byteorder=True)
            drawn = bitmap.to_pil().convert("RGB")
            _check_pictures(page, drawn, bitmap.get_posconv(page).to_bitmap)
            return drawn, len(boxes)
        finally:
            page.close()


def _check_pictures(page: pdfium.PdfPage, drawn: Image.Image, place: Callable[[float, float], Size]) -> None:
    """PDFium draws nothing for a picture that it cannot decode: where nothing is seen, it is asked for it.

    `place` tells where a point of the page is drawn. Raises UnusableError.
    """
    for number, picture in enumerate(page.get_objects(filter=(FPDF_PAGEOBJ_IMAGE,)), 1):
        corners = (0, 0), drawn.size
        # The place of one inside a form is not its place on the page.
        if not picture.level:
            left, bottom, right, top = picture.get_bounds()
            corners = place(left, bottom), place(right, top)
        region = drawn.crop(inside(*corners, drawn.size))
        if 0 in region.size or region.getcolors(1) is None:
            continue
        try:
            picture.get_bitmap()
        except pdfium.PdfiumError:
            raise UnusableError(f"its picture {number} cannot be decoded") from None


def inside(one: Size, other: Size, size: Size) -> tuple[int, int, int, int]:
    """The box of two corners in a picture of a size, without its edges, which others may have coloured."""
    spans = []
    for a, b, length in zip(one, other, size, strict=True):
        start = max(0, min(a, b) + 1)
        spans.append((start, max(start, min(length, max(a, b) - 1))))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


class Frame(NamedTuple):
    """A frame by its number from 0, and how many times as high as wide its pixels are, once it is upright."""

    number: int
    pixel_height: float = 1.0


class PicturePages:
    """The pages of a TIFF, the frames of a WebP or GIF."""

    def __init__(self, kind: str, data: bytes, max_pixels: int) -> None:
        image = opened(kind, data)
        self._image, self._max_pixels = image, max_pixels
        tiff = list(_tiff_frames(image)) if isinstance(image, TiffImagePlugin.TiffImageFile) else []
        self._frames = tiff or [Frame(number) for number in range(getattr(image, "n_frames", 1))]

    def __len__(self) -> int:
        return len(self._frames)

    def page(self, number: int, piece: int, side: int) -> tuple[Image.Image, int]:
        """As that of a PDF."""
        frame = self._frames[number - 1]
        self._image.seek(frame.number)
        width, height = self._image.size
        if width * height > self._max_pixels:
            most = self._max_pixels / 1e6
            raise UnusableError(f"it has {width} x {height} pixels; at most {most:g} megapixels are accepted")
        self._image.load()
        # A TIFF turns itself upright as it is loaded.
        width, height = self._image.size
        wide, high = width * max(1.0, 1 / frame.pixel_height), height * max(1.0, frame.pixel_height)
        boxes = pieces(wide, high)
        left, top, right, bottom = boxes[piece]
        factor = min(1.0, side / max((right - left) * wide, (bottom - top) * high))
        width, height = max(1, round(wide * factor)), max(1, round(high * factor))
        box = round(left * width), round(top * height), round(right * width), round(bottom * height)
        return to_rgb(self._image, (width, height)).crop(box), len(boxes)


def _tiff_frames(image: TiffImagePlugin.TiffImageFile) -> Iterator[Frame]:
    """All but smaller copies."""
    for number, _ in enumerate(ImageSequence.Iterator(image)):
        tags = image.tag_v2
        if tags.get(SUBFILE_TYPE) not in SMALLER_COPIES:
            yield Frame(number, _pixel_height(tags))


def _pixel_height(tags: TiffImagePlugin.ImageFileDirectory_v2) -> float:
    across, down = tags.get(RESOLUTION_ACROSS), tags.get(RESOLUTION_DOWN)
    # A resolution of n/0 is not above 0.
    if not (isinstance(across, Real) and isinstance(down, Real) and float(down) > 0):
        return 1.0
    height = float(across) / float(down)
    if not (LEAST_OBLONG <= height <= MOST_OBLONG or 1 / MOST_OBLONG <= height <= 1 / LEAST_OBLONG):
        return 1.0
    return 1 / height if tags.get(ORIENTATION) in ON_THEIR_SIDE else height


class Renderer:
    """Answers requests about the document that came last."""

    def __init__(self) -> None:
        self._pages: PdfPages | PicturePages | None = None

    def answer(self, request: Facts, data: bytes) -> Reply:
        """How many `pages` there are, or where one is asked for by its number, a piece of that page."""
        if data:
            # The former one goes first: memory is limited.
            self._pages = None
            kind = request["format"]
            self._pages = PdfPages(data) if kind == "PDF" else PicturePages(kind, data, request["most"])
        if self._pages is None:
            raise UnusableError(DAMAGED)
        if not request["page"]:
            return Reply({"pages": len(self._pages)})
        drawn, count = self._pages.page(request["page"], request["piece"], request["side"])
        file = io.BytesIO()
        drawn.save(file, "PNG", compress_level=3)
        return Reply.of(file.getvalue(), pieces=count)


answer = Renderer().answer
