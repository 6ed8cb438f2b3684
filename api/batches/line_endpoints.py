"""The endpoints that lines of a batch may name, and how each reads a line and writes its answer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from api.dialects.native.jobs import to_result
from api.dialects.openai.chat import from_chat, result_of, to_completion
from api.dialects.openai.response_object import ResponseObject, StoredResponse, to_response
from api.dialects.openai.responses import ResponseTurn, from_response
from api.dialects.strict_json import unsupported
from shared.batch import Batch
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
class LineEndpoint:
    """`read` raises CallerError naming the field; `to_answer` is the answer of a job that succeeded."""

    read: Callable[[Any], Question]
    to_answer: Callable[[JobView, Body], Any]


PAGES = "/v1/jobs"
"""The endpoint of a batch whose lines are pages; none that lines of a file may name."""


def answer_of(batch: Batch, job: JobView, body: Body) -> Any:
    """A succeeded job's answer, as its line's endpoint or a job of pages writes it."""
    if batch.question is not None:
        return to_result(job.id, result_of(job))
    return LINE_ENDPOINTS[batch.endpoint].to_answer(job, body)


def _refuse(**fields: bool) -> None:
    """Refuse fields that a line cannot have: nobody waits for it, and its answer goes into a file."""
    for name, is_set in fields.items():
        if is_set:
            raise unsupported(name)


def _read_chat(body: Any) -> Question:
    completion = from_chat(body)
    _refuse(stream=completion.stream, store=not completion.stored)
    return Question(completion.request, completion.metadata)


def _turn(body: Any) -> ResponseTurn:
    """A response that goes on from no earlier one: a line's conversation is not looked up."""
    turn = from_response(body)
    _refuse(
        stream=turn.stream,
        store=not turn.stored,
        background=turn.fields.background,
        previous_response_id=bool(turn.fields.previous),
    )
    return turn


def _read_response(body: Any) -> Question:
    turn = _turn(body)
    outline = turn.fields.model_dump_json(exclude_defaults=True)
    return Question(turn.request, turn.metadata, outline)


def _to_response(job: JobView, body: Body) -> ResponseObject:
    turn = _turn(body())
    return to_response(StoredResponse(replace(job, metadata=turn.metadata), turn.request, turn.fields))


LINE_ENDPOINTS: dict[str, LineEndpoint] = {
    "/v1/chat/completions": LineEndpoint(_read_chat, lambda job, _: to_completion(job)),
    "/v1/responses": LineEndpoint(_read_response, _to_response),
}
