"""Renders documents in a child process (`shared.media.decode`): a file in, a PNG of a page out.

It keeps the last document open: its pages are asked for one by one, each under the limit of time. PDFium
comes without scripts and forms, and fetches nothing.
"""

import io
from collections.abc import Iterator
from numbers import Real
from typing import NamedTuple, Protocol

import pypdfium2 as pdfium
from PIL import Image, ImageSequence, TiffImagePlugin
from pypdfium2.raw import FPDF_ERR_PASSWORD, FPDF_GetLastError, FPDF_LoadMemDocument64

from shared.media.decode_picture import to_rgb
from shared.media.decoder_protocol import DAMAGED, Facts, Reply, UnusableError

POINTS_PER_INCH, MOST_DOTS_PER_INCH = 72, 300
# TIFF 6.0, section 8: of the subfile's type, bit 0 says that it is a smaller copy of another.
SUBFILE_TYPE, SMALLER_COPIES = 254, (1, 3, 5, 7)
RESOLUTION_ACROSS, RESOLUTION_DOWN = 282, 283
ORIENTATION, ON_THEIR_SIDE = 274, (5, 6, 7, 8)
# Faxes have up to four times as many dots to an inch one way; less is rounding, and more a mistake.
LEAST_OBLONG, MOST_OBLONG = 1.2, 4


class OpenPages(Protocol):
    def __len__(self) -> int: ...

    def page(self, number: int, side: int) -> Image.Image:
        """The page of a number from 1, its longer side at most `side` pixels. Raises UnusableError."""


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

    def page(self, number: int, side: int) -> Image.Image:
        page = self._pdf[number - 1]
        try:
            longest = max(page.get_size())
            if not longest > 0:
                raise UnusableError("it has no size")
            scale = min(side / longest, MOST_DOTS_PER_INCH / POINTS_PER_INCH)
            drawn: Image.Image = page.render(scale=scale, rev_byteorder=True).to_pil()
            return drawn.convert("RGB")
        finally:
            page.close()


class Frame(NamedTuple):
    """A frame by its number from 0, and how many times as high as wide its pixels are, once it is upright."""

    number: int
    pixel_height: float = 1.0


class PicturePages:
    """The pages of a TIFF, the frames of a WebP or GIF."""

    def __init__(self, kind: str, data: bytes, max_pixels: int) -> None:
        image = Image.open(io.BytesIO(data), formats=[kind])
        self._image, self._max_pixels = image, max_pixels
        tiff = list(_tiff_frames(image)) if isinstance(image, TiffImagePlugin.TiffImageFile) else []
        self._frames = tiff or [Frame(number) for number in range(getattr(image, "n_frames", 1))]

    def __len__(self) -> int:
        return len(self._frames)

    def page(self, number: int, side: int) -> Image.Image:
        frame = self._frames[number - 1]
        self._image.seek(frame.number)
        width, height = self._image.size
        if width * height > self._max_pixels:
            most = self._max_pixels / 1e6
            raise UnusableError(f"it has {width} x {height} pixels; at most {most:g} megapixels are accepted")
        self._image.load()
        # A TIFF turns itself upright as it is loaded.
        width, height = self._image.size
        shown = width * max(1.0, 1 / frame.pixel_height), height * max(1.0, frame.pixel_height)
        factor = min(1.0, side / max(shown))
        width, height = (max(1, round(length * factor)) for length in shown)
        return to_rgb(self._image, (width, height))


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
        self._pages: OpenPages | None = None

    def answer(self, request: Facts, data: bytes) -> Reply:
        """How many `pages` there are, or where one is asked for by its number, that page."""
        if data:
            # The former one goes first: memory is limited.
            self._pages = None
            self._pages = _opened(request, data)
        if self._pages is None:
            raise UnusableError(DAMAGED)
        if not request["page"]:
            return Reply({"pages": len(self._pages)})
        return Reply.of(_png(self._pages.page(request["page"], request["side"])))


def _opened(request: Facts, data: bytes) -> OpenPages:
    kind = request["format"]
    return PdfPages(data) if kind == "PDF" else PicturePages(kind, data, request["most"])


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=3)
    return file.getvalue()


answer = Renderer().answer
