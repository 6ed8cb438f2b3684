"""/v1/batches: batches, the lines of their input, the rows of their output. Times are Unix seconds."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from pydantic_core import from_json

from api.dialects.fields import to_metadata
from api.dialects.openai.errors import status_of, to_error
from api.dialects.openai.files import to_life
from api.dialects.strict_json import Wire, invalid, parse, read, unsupported_kind
from shared.batch import Batch, LineAnswer, LineProblem, Stage
from shared.errors import CallerError
from shared.result import JobError

WINDOW = "24h"
ELSEWHERE = (
    "/v1/embeddings",
    "/v1/images/edits",
    "/v1/images/generations",
    "/v1/moderations",
    "/v1/videos",
)
"""OpenAI's endpoints that this service does not have."""
MAX_ID = 512
HEAD = 2**12
"""Leading bytes of an unparsable line in which its `custom_id` is looked for."""
_NAMED = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*+\{(?:\s*+"(?:method|url)"\s*+:\s*+"[^"\\]*+"\s*+,)*+'
    rb'\s*+"custom_id"\s*+:\s*+("(?:[^"\\]|\\.)++")'
)
_SHOWN: tuple[Stage, ...] = (
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
)


class OutputLife(Wire):
    anchor: str | None = None
    seconds: int | None = None


class BatchBody(Wire):
    completion_window: str
    endpoint: str
    input_file_id: str
    metadata: dict[str, str] | None = None
    output_expires_after: OutputLife | None = None


class LineBody(Wire):
    """A line of the input."""

    custom_id: str = Field(min_length=1, max_length=MAX_ID)
    method: str
    url: str
    body: dict[str, Any]


@dataclass(frozen=True)
class BatchRequest:
    """A batch to be made; `life_s` is None where the caller leaves it open."""

    file: str
    endpoint: str
    metadata: dict[str, str]
    life_s: int | None


@dataclass(frozen=True)
class Entry:
    """A line as it was read: its body, or why it has none. `custom_id` is None where the line has none."""

    custom_id: str | None
    body: dict[str, Any] | None
    problem: LineProblem | None = None


def from_batch(body: Any, endpoints: tuple[str, ...]) -> BatchRequest:
    """Raises CallerError naming the field."""
    said = read(BatchBody, body)
    if said.endpoint in ELSEWHERE:
        raise unsupported_kind("endpoint", said.endpoint)
    if said.endpoint not in endpoints:
        raise invalid("endpoint", f"should be one of {', '.join(endpoints)}")
    if said.completion_window != WINDOW:
        raise invalid("completion_window", f"should be {WINDOW}")
    life = said.output_expires_after
    return BatchRequest(
        file=said.input_file_id,
        endpoint=said.endpoint,
        metadata=to_metadata(said.metadata),
        life_s=None if life is None else to_life(life.anchor, life.seconds, "output_expires_after"),
    )


def from_line(raw: bytes, number: int, endpoint: str) -> Entry:
    """Read a line of the input; `number` counts from 1."""
    try:
        value = parse(raw)
    except CallerError as error:
        code = "invalid_json_line" if error.code == "invalid_json" else error.code
        problem = LineProblem(code, f"Line {number}: {error.message}", number)
        return Entry(named_at_start(raw), None, problem)
    named = _named(value.get("custom_id")) if isinstance(value, dict) else None
    try:
        said = read(LineBody, value)
    except CallerError as error:
        code = error.code if isinstance(value, dict) else "invalid_json_line"
        return Entry(named, None, LineProblem(code, f"Line {number}: {error.message}", number, error.param))
    if said.url != endpoint:
        message = f"Line {number}: `url` is not the batch's endpoint, {endpoint}."
        return Entry(named, None, LineProblem("url_mismatch", message, number, "url"))
    if said.method != "POST":
        message = f"Line {number}: `method` should be POST."
        return Entry(named, None, LineProblem("invalid_request", message, number, "method"))
    return Entry(named, said.body)


def named_at_start(raw: bytes) -> str | None:
    """The custom_id of an unparsable line, where nothing but its method and url come before it."""
    found = _NAMED.match(raw[:HEAD])
    try:
        return _named(from_json(found[1])) if found else None
    except ValueError:
        return None


def _named(custom_id: Any) -> str | None:
    return custom_id if isinstance(custom_id, str) and 0 < len(custom_id) <= MAX_ID else None


def to_batch(batch: Batch) -> dict[str, Any]:
    """The batch object; times of stages that it has not reached are null."""
    times = {f"{stage}_at": _seconds(batch.stages_ms.get(stage)) for stage in _SHOWN}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": _errors(batch),
        "input_file_id": batch.file,
        "completion_window": WINDOW,
        "status": batch.stage,
        "output_file_id": batch.output,
        "error_file_id": batch.error,
        "created_at": batch.created_ms // 1000,
        "expires_at": batch.expires_ms // 1000,
        **times,
        "request_counts": {
            "total": batch.total or 0,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "usage": _usage(batch),
        "metadata": batch.metadata or None,
    }


def to_row(batch: str, line: LineAnswer, body: dict[str, Any]) -> dict[str, Any]:
    """A row of the output file: what the line's call would have answered."""
    return _row(batch, line) | {"response": _response(batch, line, 200, body), "error": None}


def to_refused_row(batch: str, line: LineAnswer, error: JobError) -> dict[str, Any]:
    """A row of the error file: the status and body with which the line's call would have been refused."""
    answered = _response(batch, line, status_of(error.code), to_error(error))
    return _row(batch, line) | {"response": answered, "error": None}


def to_undone_row(batch: str, line: LineAnswer, error: JobError) -> dict[str, Any]:
    """A row of the error file for a line that was not computed to its end."""
    return _row(batch, line) | {"response": None, "error": {"code": error.code, "message": error.message}}


def _row(batch: str, line: LineAnswer) -> dict[str, Any]:
    return {"id": _row_id(batch, line), "custom_id": line.custom_id}


def _row_id(batch: str, line: LineAnswer) -> str:
    return f"batch_req_{batch.removeprefix('batch_')}_{line.number}"


def _response(batch: str, line: LineAnswer, status: int, body: dict[str, Any]) -> dict[str, Any]:
    """The `request_id` of a line that became a job is the job's id."""
    return {"status_code": status, "request_id": line.job or _row_id(batch, line), "body": body}


def _errors(batch: Batch) -> dict[str, Any] | None:
    if not batch.errors:
        return None
    return {"object": "list", "data": [dict(vars(problem)) for problem in batch.errors]}


def _usage(batch: Batch) -> dict[str, Any]:
    tokens = batch.tokens
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens.input + tokens.output,
    }


def _seconds(ms: int | None) -> int | None:
    return None if ms is None else ms // 1000
