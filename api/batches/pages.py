"""A batch whose lines are the pages of a document: each becomes a job that asks the same of its page."""

import threading
from contextlib import ExitStack
from typing import BinaryIO

from api.batches.line_endpoints import Question
from shared.batch import Batch
from shared.errors import CallerError
from shared.media.documents import DocumentRenderer, OpenDocument, with_page
from shared.request import Request
from shared.result import JobError


class PageQuestions:
    """What is asked of each page. `close` it, from any thread: a process keeps the document open."""

    def __init__(self, renderer: DocumentRenderer, batch: Batch, file: BinaryIO) -> None:
        self._renderer, self._file = renderer, file
        self._request = Request.model_validate_json(batch.question or "")
        self._stack = ExitStack()
        self._document: OpenDocument | None = None
        # A thread that nobody waits for may still render.
        self._lock, self._closed = threading.Lock(), False

    def about(self, page: int) -> Question | JobError:
        with self._lock:
            try:
                pictures = tuple(self._opened().page(page))
            except CallerError as error:
                self._file.seek(0)
                return JobError(code=error.code, message=error.message, param=error.param)
            return Question(with_page(self._request, pictures), {})

    def _opened(self) -> OpenDocument:
        if self._closed:
            raise CallerError("invalid_document", "The document is closed.")
        if self._document is None:
            opened = self._renderer.opened(self._file.read(), "document")
            self._document = self._stack.enter_context(opened)
        return self._document

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._stack.close()
