"""Documents as pages: what is checked of one before it is opened, and its pages as pictures.

The pages are rendered in child processes (`shared.media.decoder_process`, `shared.media.decode_document`)."""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from shared.errors import CallerError
from shared.media.decoder_process import Decoded, DecoderPool, DecoderProcess, DiedError, UndecodableError
from shared.media.kinds import Kind
from shared.media.picture_headers import picture_format
from shared.media.pictures import inspect
from shared.metrics.decoder_counters import DECODE
from shared.request import Document, Image, Request
from shared.settings import Settings

# A PDF may have something before its header, which readers look for in the first kilobyte.
PDF_WITHIN = 1024
RANGE = re.compile(r"(\d{1,6})(-(\d{1,6})?)?")
FEWER = (
    "(max_pictures of the model, SIGHTLINE_PICTURES__MAX_COUNT); name fewer in `pages`, or submit a job of "
    "pages (POST /v1/jobs with `document`)"
)
AT_ONCE = 2
"""Rendering processes of one kind of work."""
PAGES_TRIED = 4
"""Pages of a job of which one must be rendered before it is accepted: each may take the limit of time."""
DURATION = DECODE.labels("document")


def document_format(data: bytes) -> str | None:
    """None where the first bytes are those of no accepted kind."""
    kind = picture_format(data)
    if kind in ("TIFF", "GIF", "WEBP"):
        return kind
    return "PDF" if b"%PDF-" in data[:PDF_WITHIN] else None


DOCUMENT = Kind(
    "document",
    "invalid_document",
    "invalid_document",
    "a PDF, TIFF, WebP or GIF",
    "application/pdf, image/tiff, image/webp, image/gif",
    document_format,
)


def selected(pages: str | None, count: int, param: str | None) -> Sequence[int]:
    """The numbers that `pages` names of the pages of a document, in its order; all where it is None.

    Raises CallerError `invalid_document` for a page that the document does not have, or that is named twice.
    """
    if pages is None:
        return range(1, count + 1)
    numbers: list[int] = []
    for part in pages.split(","):
        match = RANGE.fullmatch(part.strip())
        if match is None:
            raise DOCUMENT.invalid("`pages` should be like `1-3,7` or `5-`", param)
        first = int(match[1])
        last = first if match[2] is None else int(match[3] or count)
        if not 1 <= first <= last <= count:
            raise DOCUMENT.invalid(f"it has {count} pages, and `pages` names {part.strip()}", param)
        numbers += range(first, last + 1)
        if len(numbers) > count:
            break
    if len(set(numbers)) < len(numbers):
        raise DOCUMENT.invalid("`pages` names a page twice", param)
    return numbers


class DocumentRenderer:
    """Renders pages for the threads of one process, at most `places` documents at the same time."""

    def __init__(self, settings: Settings, places: int = AT_ONCE) -> None:
        self._settings = settings
        self._pool = DecoderPool(DOCUMENT, "shared.media.decode_document", settings.documents, places)
        self.close = self._pool.close

    @contextmanager
    def opened(self, data: bytes, param: str | None) -> Iterator["OpenDocument"]:
        """A document in one of the processes. Raises CallerError `invalid_document`, `payload_too_large`."""
        kind = DOCUMENT.check(data, self._settings.documents, param)
        with ExitStack() as place:
            yield OpenDocument(self._pool, place, self._settings, kind, data, param)

    def pictures(self, document: Document, data: bytes, room: int) -> Generator[Image]:
        """The pages as pictures that came inline. Raises CallerError `invalid_document`, `payload_too_large`.

        No more than `room`, which is how many pictures the request may still have. Close it where you stop.
        """
        with self.opened(data, document.param) as pages:
            numbers = selected(document.pages, pages.count, document.param)
            if len(numbers) > room:
                reason = f"{len(numbers)} pages are asked about, and {room} fit into this question"
                raise DOCUMENT.invalid(f"{reason} {FEWER}", document.param)
            for number in numbers:
                for picture in pages.page(number):
                    if not room:
                        reason = "its pages make more pictures than fit into this question"
                        raise DOCUMENT.invalid(f"{reason} {FEWER}", document.param)
                    room -= 1
                    yield picture

    def first_page(
        self, document: Document, data: bytes, most: int | None = None
    ) -> tuple[Sequence[int], tuple[Image, ...]]:
        """The pages that are asked about, and the first that can be rendered, if one of the first few can.

        Raises as `pictures`, and where they are more than `most`.
        """
        with self.opened(data, document.param) as pages:
            numbers = selected(document.pages, pages.count, document.param)
            if most is not None and len(numbers) > most:
                reason = f"{len(numbers)} pages are asked about, and a job takes {most}"
                advice = "(SIGHTLINE_DOCUMENTS__MAX_PAGES); name fewer in `pages`"
                raise DOCUMENT.invalid(f"{reason} {advice}", document.param)
            errors = []
            for number in numbers[:PAGES_TRIED]:
                try:
                    return numbers, tuple(pages.page(number))
                except CallerError as error:
                    errors.append(error)
            raise errors[0]


def with_page(request: Request, pictures: tuple[Image, ...]) -> Request:
    """A request with a page where its document stands."""
    return request.with_media(pictures if isinstance(part, Document) else part for part in request.media)


def room_for_pages(request: Request, settings: Settings, of_model: int | None) -> int:
    """Return how many pages a request may have beside its pictures; the model may take fewer (`of_model`)."""
    most = settings.pictures.max_count
    return max(0, min(most, of_model or most) - len(request.images))


@dataclass
class OpenDocument:
    """A document that one process keeps open. It moves to another where that ends at a page."""

    _pool: DecoderPool
    _place: ExitStack
    _settings: Settings
    _kind: str
    _data: bytes
    _param: str | None
    _process: DecoderProcess | None = None
    count: int = field(init=False)

    def __post_init__(self) -> None:
        """Raises CallerError `invalid_document`."""
        try:
            self.count = self._ask(0).facts["pages"]
        except UndecodableError as error:
            raise DOCUMENT.invalid(str(error), self._param) from None
        if not self.count:
            raise DOCUMENT.invalid("it has no pages", self._param)

    def page(self, number: int) -> Iterator[Image]:
        """A page as a PNG, a long one as several. Raises CallerError `invalid_document` that names it."""
        piece, count = 0, 1
        try:
            while piece < count:
                drawn = self._ask(number, piece)
                data, count, piece = bytes(drawn.data), drawn.facts["pieces"], piece + 1
                inspect(data, self._settings.pictures, self._param)
                yield Image(data=data, param=self._param or "")
        except (UndecodableError, CallerError) as error:
            reason = error.message.rstrip(".") if isinstance(error, CallerError) else error
            message = f"Page {number} of the document cannot be rendered: {reason}. Leave it out of `pages`."
            raise CallerError("invalid_document", message, param=self._param) from None

    def _ask(self, page: int, piece: int = 0) -> Decoded:
        """The answer of the process, or of a new one where it died."""
        try:
            return self._exchange(page, piece)
        except DiedError:
            return self._exchange(page, piece, new=True)

    def _exchange(self, page: int, piece: int, *, new: bool = False) -> Decoded:
        """Raises UndecodableError, DiedError."""
        data, side = b"", self._settings.documents.page_side
        most = self._settings.pictures.max_megapixels_sent * 1e6
        if self._process is None:
            self._process, data = self._place.enter_context(self._pool.borrowed(new=new)), self._data
        try:
            with DURATION.time():
                return self._process.decode(
                    data, format=self._kind, page=page, piece=piece, side=side, most=most
                )
        except UndecodableError:
            if not self._process.alive:
                # Gives the place back.
                self._process = None
                self._place.close()
            raise
