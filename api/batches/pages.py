"""A batch whose lines are the pages of a document: each becomes a job that asks the same of its page.

Line n is the n-th page that is asked about; it begins at n - 1 and ends at n.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import BinaryIO

from api.batches.line_endpoints import Question, ReadLine
from shared.batch import Batch, LineAnswer, LinePosition
from shared.errors import CallerError
from shared.media.documents import DocumentRenderer, OpenDocument, selected, with_page
from shared.request import MOST_PAGES, Request
from shared.result import JobError


def page_numbers(batch: Batch) -> Sequence[int]:
    """The pages that are asked about, line by line."""
    return selected(batch.pages or "", MOST_PAGES, None)


def untaken_pages(batch: Batch) -> Iterator[LineAnswer]:
    """The lines that were not taken, as refused."""
    for number, page in enumerate(page_numbers(batch)[batch.row :], batch.row + 1):
        yield LineAnswer(number, str(page), "refused", at=number - 1, behind=number)


class PageLines(Iterator[ReadLine]):
    """The lines behind the last one taken. `close` it, from any thread: a process keeps the document open."""

    def __init__(self, renderer: DocumentRenderer, batch: Batch, file: BinaryIO) -> None:
        self._renderer, self._batch, self._file = renderer, batch, file
        self._request = Request.model_validate_json(batch.question or "")
        self._pages = iter(list(enumerate(page_numbers(batch), 1))[batch.row :])
        self._stack, self._document = ExitStack(), None
        # A thread that nobody waits for may still render.
        self._lock, self._closed = threading.Lock(), False

    _document: OpenDocument | None

    def __next__(self) -> ReadLine:
        with self._lock:
            if self._closed:
                raise StopIteration
            number, page = next(self._pages)
            place = LinePosition(self._batch.id, number, number - 1, number, str(page))
            return ReadLine(place, self._question_about(page))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._stack.close()

    def _question_about(self, page: int) -> Question | JobError:
        try:
            if self._document is None:
                opened = self._renderer.opened(self._file.read(), "document")
                self._document = self._stack.enter_context(opened)
            pictures = tuple(self._document.page(page))
        except CallerError as error:
            self._file.seek(0)
            return JobError(code=error.code, message=error.message, param=error.param)
        return Question(with_page(self._request, pictures), {})
