"""The endpoints that lines of a batch may name, and how each reads a line and writes its answer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from api.dialects.openai.chat import Chat, from_chat, to_completion
from api.dialects.openai.completions import from_completion, to_text_completion
from api.dialects.openai.response_object import Kept, to_response
from api.dialects.openai.responses import ResponseTurn, from_response
from api.dialects.strict_json import unsupported
from shared.job import JobView
from shared.request import Request

Body = Callable[[], Any]
"""A line's body, read again where the answer repeats what was asked."""


@dataclass(frozen=True)
class Question:
    """What a line asks; `response` (JSON) is the outline of a job that is one of OpenAI's responses."""

    request: Request
    metadata: dict[str, str]
    response: str | None = None


@dataclass(frozen=True)
class Door:
    """`read` raises CallerError naming the field; `whole` is the answer of a job that succeeded."""

    read: Callable[[Any], Question]
    whole: Callable[[JobView, Body], dict[str, Any]]


def _refuse(**fields: bool) -> None:
    """Refuse fields that a line cannot have: nobody waits for it, and its answer goes into a file."""
    for name, value in fields.items():
        if value:
            raise unsupported(name)


def _reader(dialect: Callable[[Any], Chat]) -> Callable[[Any], Question]:
    def read(body: Any) -> Question:
        request = dialect(body)
        _refuse(stream=request.stream, store=not request.stored, prompt=bool(request.others))
        return Question(request.request, request.metadata)

    return read


def _call(body: Any) -> ResponseTurn:
    """A response that goes on from no earlier one: a line's conversation is not looked up."""
    call = from_response(body)
    _refuse(
        stream=call.stream,
        store=not call.stored,
        background=call.outline.background,
        previous_response_id=bool(call.outline.previous),
    )
    return call


def _read_response(body: Any) -> Question:
    call = _call(body)
    outline = call.outline.model_dump_json(exclude_defaults=True)
    return Question(call.request, call.metadata, outline)


def _whole_response(view: JobView, body: Body) -> dict[str, Any]:
    call = _call(body())
    return to_response(Kept(replace(view, metadata=call.metadata), call.request, call.outline))


DOORS: dict[str, Door] = {
    "/v1/chat/completions": Door(
        _reader(from_chat), lambda view, _: to_completion(view, view.model, view.created_ms // 1000)
    ),
    "/v1/completions": Door(
        _reader(from_completion),
        lambda view, _: to_text_completion(view, view.model, view.created_ms // 1000),
    ),
    "/v1/responses": Door(_read_response, _whole_response),
}
