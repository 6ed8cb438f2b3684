"""Reads a form with one file (RFC 7578) as it arrives: the file goes to disk, its fields stay in memory.

The parts come in any order: OpenAI's JavaScript client sends the file before its `purpose`.
"""

import asyncio
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from api.server.body import arriving
from shared.blobs import Staged
from shared.errors import CallerError

FILE = "file"
MAX_FIELDS = 16
MAX_FIELD = 1024
AROUND = 64 * 2**10
"""Most bytes of a body beside the file's own: boundaries, headers, fields."""
PIECE = 64 * 2**10
"""Bytes that are parsed, hashed and written at a time, off the event loop: each upload holds as many."""


@dataclass
class MultipartForm:
    """What has been read; the file's bytes are in `staged`, `filename` is None where there was no file."""

    staged: Staged
    limit: int
    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


async def receive(request: Request, form: MultipartForm) -> None:
    """Read the request's body into `form`.

    Raises CallerError (`invalid_request`, `payload_too_large`), ClientDisconnect.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        message = "Send multipart/form-data with a boundary."
        raise CallerError("invalid_request", message, param="content-type")
    try:
        parts = _Parts(form, options[b"boundary"])
    except FormParserError:
        raise CallerError("invalid_request", "The boundary is too long.", param="content-type") from None
    buffer = bytearray()
    async for chunk in arriving(request, form.limit + AROUND):
        buffer += chunk
        if len(buffer) >= PIECE:
            await asyncio.to_thread(parts.feed, bytes(buffer))
            buffer.clear()
    await asyncio.to_thread(parts.feed, bytes(buffer))
    parts.finish()


class _Parts:
    """The parser's callbacks: collects a part's headers, then sends its data where it belongs."""

    def __init__(self, form: MultipartForm, boundary: bytes) -> None:
        self._form = form
        self._name = ""
        self._value = bytearray()
        self._header = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": lambda: setattr(self, "_ended", True),
            },
        )

    def feed(self, data: bytes) -> None:
        """Raises CallerError `invalid_request`, `payload_too_large`."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise CallerError("invalid_request", f"The form cannot be read: {str(error)[:200]}.") from None

    def finish(self) -> None:
        """The body has ended. Raises CallerError `invalid_request` where the form has not."""
        if not self._ended:
            raise CallerError("invalid_request", "The form ends before its last boundary.")

    def _begin(self) -> None:
        self._disposition = b""
        self._value.clear()

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header.clear()
        self._header_value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == FILE:
            if self._form.filename is not None:
                raise CallerError("invalid_request", "Send one `file` at a time.", param=FILE)
            self._form.filename = options.get(b"filename", b"").decode("utf-8", "replace")
        elif not self._name:
            raise CallerError("invalid_request", "A part of the form has no name.")
        elif self._name in self._form.fields:
            name = self._name[:64]
            raise CallerError("invalid_request", f"`{name}` is sent twice; send it once.", param=name)
        elif len(self._form.fields) == MAX_FIELDS:
            raise CallerError("invalid_request", f"The form has more than {MAX_FIELDS} fields.")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name != FILE:
            if len(self._value) + end - start > MAX_FIELD:
                message = f"The field is longer than {MAX_FIELD} bytes."
                raise CallerError("invalid_request", message, param=self._name[:64])
            self._value += data[start:end]
            return
        if self._form.staged.size + end - start > self._form.limit:
            message = f"A file may have at most {self._form.limit} bytes (SIGHTLINE_API__FILE_LIMIT_MB)."
            raise CallerError("payload_too_large", message, param=FILE)
        self._form.staged.write(data[start:end])

    def _end(self) -> None:
        if self._name != FILE:
            self._form.fields[self._name] = self._value.decode("utf-8", "replace")
