"""One question to a model over HTTP, with files, and its streamed answer."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from mimetypes import guess_type
from typing import Any

import httpx

from sightline.commands import typed_path
from sightline.exits import CommandError, Exit
from sightline.follow import PATIENCE
from sightline.mapping.media import MOST_MB, START, TIFF, kind_of
from sightline.service_client import check, check_stream, code, parsed, reason, speaking

Message = dict[str, Any]
MIMES = {"Document": "application/pdf", "Sound": "audio/wav", "Video": "video/mp4"}
"""One for each kind: the service looks at the bytes."""
ABOUT_PAGES = "Of a document, --pages 1-3 asks about some pages, --per-page about each by itself."
ASKED_AGAIN = ("model_not_found", "model_loading", "no_worker", "model_paused")
"""Refusals of a call that names no model, and of one that does not wait: a person is told, and waits."""


@dataclass(frozen=True)
class Answer:
    """The whole answer; `cache` is the service's word for where it came from."""

    model: str
    text: str
    finish_reason: str | None
    cache: str | None
    job: str | None


@dataclass
class Question:
    """A question and its `media`. `model` None: the first one served; `patient`: wait for a paused model."""

    client: httpx.Client
    text: str
    model: str | None = None
    max_tokens: int | None = None
    media: Sequence[Message] = ()
    patient: bool = False

    def ask(self, emit: Callable[[str], object], wait: Callable[[str], object] = lambda _: None) -> Answer:
        """Ask and call `emit` with each piece of the answer, `wait` with each comment. Raises CommandError.

        Makes one request; two if the model is not there yet, three if several are served and none is named.
        """
        try:
            with speaking(self.client):
                return self._answer(emit, wait)
        except CommandError as error:
            # The service says how many pages fit, if fewer would.
            if " fit" in str(error) and any(part["type"] == "document" for part in self.media):
                raise CommandError(error.code, f"{error} {ABOUT_PAGES}") from None
            raise

    def _answer(self, emit: Callable[[str], object], wait: Callable[[str], object]) -> Answer:
        with self._posted(waits="false") as reply:
            refusal = None if reply.is_success else code(reply.read())
            if refusal == "model_paused" and not self.patient:
                raise CommandError(Exit.REFUSED, f"{reason(reply.text)} {PATIENCE}")
            if refusal not in ASKED_AGAIN or (refusal == "model_not_found" and self.model is not None):
                return _streamed(reply, emit, wait)
        if refusal == "model_not_found":
            self.model = first_model(self.client)
        else:
            wait(reason(reply.text))
        with self._posted(waits="true") as reply:
            return _streamed(reply, emit, wait)

    def _posted(self, *, waits: str) -> AbstractContextManager[httpx.Response]:
        content = [*self.media, {"type": "text", "text": self.text}]
        options = {"model": self.model, "max_tokens": self.max_tokens}
        body = {"stream": True, "messages": [{"role": "user", "content": content}]}
        body |= {k: v for k, v in options.items() if v is not None}
        headers = {"x-wait-for-model": waits}
        return self.client.stream("POST", "/v1/chat/completions", json=body, headers=headers)


def first_model(client: httpx.Client) -> str:
    """The first model served, for a question that names none. Raises CommandError."""
    reply = client.get("/v1/models")
    check(reply)
    served = parsed(reply)["data"]
    if not served:
        raise CommandError(Exit.REFUSED, "No model is served there: see `sightline models add --help`.")
    return str(served[0]["id"])


def medium_url(medium: str) -> str:
    """A URL unchanged, a file as a data: URI of what its bytes are. Raises CommandError."""
    if medium.lower().startswith(("http://", "https://", "data:")):
        return medium
    try:
        with typed_path(medium).open("rb") as file:
            data = file.read(MOST_MB * 2**20 + 1)
    except OSError as error:
        raise CommandError(Exit.USAGE, f"The file {medium} cannot be read: {error.strerror}.") from None
    if not 0 < len(data) <= MOST_MB * 2**20:
        raise CommandError(Exit.USAGE, f"The file {medium} is empty, or has more than {MOST_MB} MiB.")
    if (kind := kind_of(data[:START])) is None:
        raise CommandError(Exit.USAGE, f"The file {medium} is no picture, PDF, TIFF, sound or video.")
    mime = "image/tiff" if data.startswith(TIFF) else MIMES.get(kind, "image/png")
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def part_of(medium: str, pages: str | None = None) -> Message:
    """The part of a message with a file or what a URL names, by its bytes or its name's ending.

    A TIFF may have pages, and is a document. `pages` are those of a document that are asked about. Raises
    CommandError.
    """
    url = medium_url(medium)
    is_data = url[:5].lower() == "data:"
    mime = url[5:].partition(";")[0] if is_data else guess_type(url.partition("?")[0])[0]
    match (mime or "").lower().partition("/"):
        case ("application", _, "pdf") | ("image", _, "tiff"):
            part = {"type": "document", "document" if is_data else "url": url}
            return part if pages is None else part | {"pages": pages}
        case ("video" | "audio" as kind, *_):
            return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}
    return {"type": "image_url", "image_url": {"url": url}}


def _streamed(reply: httpx.Response, emit: Callable[[str], object], wait: Callable[[str], object]) -> Answer:
    """Only `[DONE]` is a clean end: a broken stream never looks whole."""
    check_stream(reply)
    pieces: list[str] = []
    model, finish = "", None
    for data in _events(reply, wait):
        if data == "[DONE]":
            headers = reply.headers
            return Answer(model, "".join(pieces), finish, headers.get("x-cache"), headers.get("x-job-id"))
        chunk = json.loads(data)
        if "error" in chunk:
            raise CommandError(Exit.REFUSED, f"The answer broke off: {reason(data)}")
        model = chunk["model"]
        for choice in chunk["choices"]:
            piece = choice["delta"].get("content") or ""
            finish = choice.get("finish_reason") or finish
            pieces.append(piece)
            emit(piece)
    raise CommandError(Exit.UNREACHABLE, "The answer broke off: the connection ended before it was complete.")


def _events(reply: httpx.Response, wait: Callable[[str], object]) -> Iterator[str]:
    for line in reply.iter_lines():
        if line.startswith(":"):
            wait(line[1:].strip())
        elif line.startswith("data:"):
            yield line[5:].strip()
