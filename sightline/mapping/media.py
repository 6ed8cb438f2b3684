"""What a row is asked about: a picture, document, sound or video, or one page of a document."""

import hashlib
import io
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

from sightline.entry import root

MOST_MB = 256
"""Largest file that is read: far more than a service takes in one call."""
START = 4096
"""First bytes of a file that say of which kind it is."""
DAMAGED = (ArithmeticError, EOFError, LookupError, RuntimeError, SyntaxError, TypeError, ValueError)
"""What Pillow raises for a damaged TIFF, beside errors of its own."""
_PDF, TIFF = b"%PDF-", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# PDFium writes the time and an id; a page that is asked twice must be the same bytes, or is another request.
_PDF_NOW = re.compile(rb"(?<=/ID\[)<[0-9A-F]{32}><[0-9A-F]{32}>(?=\])|(?<=<</CreationDate\(D:)\d{14}")
# PDFium is for one thread at a time.
_pdfium = Lock()


class RowError(Exception):
    """A row cannot be asked, and never will be as it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Medium:
    """`identity` changes when the content does, and may be asked for without reading the bytes."""

    identity: Callable[[], str]
    load: Callable[[], bytes] | None = None
    url: str | None = None


def kind_of(start: bytes) -> str | None:
    """Image, Document, Sound or Video, by the first bytes, as the service takes them; None for all else."""
    # A program that calls `map_rows` need not have the service's packages on its path.
    if str(root()) not in sys.path:
        sys.path.append(str(root()))
    from shared.media.files import medium_of

    kind = medium_of(start)
    return None if kind is None else kind.__name__


def inline(data: bytes) -> Medium:
    return Medium(lambda: digest(data), lambda: data)


def local(path: Path) -> Medium:
    return Medium(lambda: digest(_read(path)), lambda: _read(path))


def page_media(kind: str | None, start: bytes, whole: Callable[[], Path | bytes]) -> list[Medium]:
    """Each page of a PDF, or of a TIFF of several pages, on its own; nothing for all other files.

    Raises OSError, RowError.
    """
    if kind == "Document" and _PDF in start[:1024]:
        source = whole()
        count, page = _pdf_pages(source), _pdf_page
    elif start.startswith(TIFF) and (count := _tiff_pages(source := whole())) > 1:
        page = _tiff_page
    else:
        return []

    whole_digest = cache(partial(digest, source))

    def medium(number: int) -> Medium:
        return Medium(lambda: f"{whole_digest()} page {number}", lambda: page(source, number))

    return [medium(number) for number in range(1, count + 1)]


def start_of(path: Path) -> bytes:
    """Raises OSError, also for a pipe or device, which may have no end; ValueError for a name with a NUL."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("It is no file, but a pipe or device.")
    with path.open("rb") as file:
        return file.read(START)


def check_size(size: int) -> None:
    """Raises RowError."""
    if size > MOST_MB * 2**20:
        message = f"Its file has {size / 2**20:.0f} MiB; at most {MOST_MB} are read."
        raise RowError("payload_too_large", message)


def _read(path: Path) -> bytes:
    """Raises as `start_of`, and RowError."""
    start_of(path)
    check_size(path.stat().st_size)
    return path.read_bytes()


def digest(source: Path | bytes) -> str:
    """A file is read piece by piece. Raises OSError."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _pdf(source: Path | bytes) -> Iterator[Any]:
    """Raises RowError for one that cannot be opened."""
    import pypdfium2

    with _pdfium:
        try:
            pdf = pypdfium2.PdfDocument(source)
        except pypdfium2.PdfiumError as error:
            raise RowError("invalid_document", f"The PDF cannot be opened: {error}") from None
        try:
            yield pdf
        finally:
            pdf.close()


def _pdf_pages(source: Path | bytes) -> int:
    with _pdf(source) as pdf:
        return len(pdf)


def _pdf_page(source: Path | bytes, number: int) -> bytes:
    import pypdfium2

    with _pdf(source) as pdf, io.BytesIO() as file:
        alone = pypdfium2.PdfDocument.new()
        try:
            alone.import_pages(pdf, [number - 1])
            alone.save(file)
        except pypdfium2.PdfiumError as error:
            raise RowError("invalid_document", f"Page {number} cannot be read: {error}") from None
        finally:
            alone.close()
        return _PDF_NOW.sub(lambda now: re.sub(rb"\w", b"0", now[0]), file.getvalue())


def _tiff_pages(source: Path | bytes) -> int:
    """1 where they cannot be counted: the service says what is wrong with it, or takes the first."""
    with suppress(RowError), _tiff(source) as tiff:
        return getattr(tiff, "n_frames", 1)
    return 1


def _tiff_page(source: Path | bytes, number: int) -> bytes:
    with _tiff(source) as tiff, io.BytesIO() as file:
        tiff.seek(number - 1)
        # Without its tags: of some libtiff writes bytes that nobody set.
        tiff.copy().save(file, "TIFF", compression="tiff_deflate")
        return file.getvalue()


@contextmanager
def _tiff(source: Path | bytes) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as tiff:
            yield tiff
    except (UnidentifiedImageError, Image.DecompressionBombError, *DAMAGED) as error:
        raise RowError("invalid_document", f"The TIFF cannot be read: {error}") from None
