"""/v1/batches: batches, the lines of their input, the rows of their output. Times are Unix seconds."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.fields import BriefError, FailureCount, Metadata, PageAnswer
from api.dialects.openai.errors import status_of, to_error
from api.dialects.openai.files import to_life
from api.dialects.openai.usage import CompletionTokensDetails
from api.dialects.strict_json import RequestBody, invalid, parse, read, unsupported_kind
from api.dialects.webhooks import BatchWebhook, to_webhook
from shared import batch as records
from shared.batch import LinePlace, LineProblem, Stage
from shared.errors import CallerError
from shared.job import Estimate
from shared.result import JobError
from shared.webhooks import BATCH_EVENTS, Webhook

WINDOW: Literal["24h"] = "24h"
ELSEWHERE = ("/v1/embeddings", "/v1/images/edits", "/v1/images/generations", "/v1/moderations", "/v1/videos")
"""OpenAI's endpoints that this service does not have."""
MAX_ID = 512


class OutputLife(RequestBody):
    anchor: str | None = None
    seconds: int | None = None


class BatchBody(RequestBody):
    completion_window: str
    endpoint: str
    input_file_id: str
    metadata: Metadata | None = None
    output_expires_after: OutputLife | None = None
    webhook: str | BatchWebhook | None = None


class LineBody(RequestBody):
    """A line of the input."""

    custom_id: str = Field(min_length=1, max_length=MAX_ID)
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


@dataclass(frozen=True)
class BatchRequest:
    """A batch to be made; `life_s` is None where the caller leaves it open."""

    file: str
    endpoint: str
    metadata: dict[str, str]
    life_s: int | None
    webhook: Webhook | None = None


@dataclass(frozen=True)
class Entry:
    """A line as it was read: its body, or why it has none. `custom_id` is None where the line has none."""

    custom_id: str | None
    body: dict[str, Any] | None
    problem: LineProblem | None = None


def from_batch(body: Any, endpoints: tuple[str, ...]) -> BatchRequest:
    """Raises CallerError naming the field."""
    batch = read(BatchBody, body)
    if batch.endpoint in ELSEWHERE:
        raise unsupported_kind("endpoint", batch.endpoint)
    if batch.endpoint not in endpoints:
        raise invalid("endpoint", f"should be one of {', '.join(endpoints)}")
    if batch.completion_window != WINDOW:
        raise invalid("completion_window", f"should be {WINDOW}")
    life = batch.output_expires_after
    return BatchRequest(
        file=batch.input_file_id,
        endpoint=batch.endpoint,
        metadata=batch.metadata or {},
        life_s=None if life is None else to_life(life.anchor, life.seconds, "output_expires_after"),
        webhook=to_webhook(batch.webhook, BATCH_EVENTS),
    )


def from_line(raw: bytes, number: int, endpoint: str) -> Entry:
    """Read a line of the input; `number` counts from 1."""
    try:
        value = parse(raw)
    except CallerError as error:
        code = "invalid_json_line" if error.code == "invalid_json" else error.code
        problem = LineProblem(code, f"Line {number}: {error.message}", number)
        return Entry(None, None, problem)
    custom_id = _custom_id(value.get("custom_id")) if isinstance(value, dict) else None
    try:
        line = read(LineBody, value)
    except CallerError as error:
        code = error.code if isinstance(value, dict) else "invalid_json_line"
        problem = LineProblem(code, f"Line {number}: {error.message}", number, error.param)
        return Entry(custom_id, None, problem)
    if line.url != endpoint:
        message = f"Line {number}: `url` is not the batch's endpoint, {endpoint}."
        return Entry(custom_id, None, LineProblem("url_mismatch", message, number, "url"))
    return Entry(custom_id, line.body)


def _custom_id(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_ID else None


class BatchError(TypedDict):
    code: str
    message: str
    line: int | None
    param: str | None


class BatchErrors(TypedDict):
    """What is wrong with lines of the input: the first hundred. Each is in the error file as well."""

    object: Literal["list"]
    data: list[BatchError]


class BatchCounts(TypedDict):
    """`total` is 0 until the lines were counted; at the end it is the sum of the others."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(TypedDict):
    cached_tokens: int


class BatchUsage(TypedDict):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: CompletionTokensDetails
    total_tokens: int


class BatchEstimate(TypedDict):
    """Seconds until its end, met half the time and nine times in ten, as the queue is now."""

    p50: float
    p90: float
    basis: str


class Batch(TypedDict):
    id: str
    object: Literal["batch"]
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: Literal["24h"]
    status: Stage
    output_file_id: Annotated[
        str | None, Field(description="The rows of the lines that succeeded, if any did.")
    ]
    error_file_id: Annotated[str | None, Field(description="The rows of all others, if there are any.")]
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchCounts
    failures: Annotated[
        list[FailureCount], Field(description="Why lines failed, the most frequent reason first.")
    ]
    usage: BatchUsage
    metadata: dict[str, str] | None
    estimate: Annotated[
        BatchEstimate | None, Field(description="While lines are computed and their model's queue moves.")
    ]


class BatchList(PageAnswer):
    data: list[Batch]


class RowResponse(TypedDict):
    """The `request_id` of a line that became a job is the job's id."""

    status_code: int
    request_id: str
    body: Any


class OutputRow(TypedDict):
    """A row of an output or error file."""

    id: str
    custom_id: str | None
    response: RowResponse | None
    error: BriefError | None


def to_batch(batch: records.Batch, estimate: Estimate | None = None) -> Batch:
    """Times of stages that it has not reached are null."""
    reached = {f"{stage}_at": batch.stages_ms.get(stage) for stage in get_args(Stage)[1:]}
    answer = {
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
        **{name: None if ms is None else ms // 1000 for name, ms in reached.items()},
        "request_counts": {"total": batch.total or 0, "completed": batch.completed, "failed": batch.failed},
        "failures": [cast(FailureCount, dict(vars(failure))) for failure in batch.failures],
        "usage": _usage(batch.tokens),
        "metadata": batch.metadata or None,
        "estimate": None if estimate is None else _estimate(estimate),
    }
    return cast(Batch, answer)


def _estimate(estimate: Estimate) -> BatchEstimate:
    half, most = (round(wait + estimate.service_s, 3) for wait in (estimate.p50, estimate.p90))
    return {"p50": half, "p90": most, "basis": estimate.basis}


def to_row(line: LinePlace, body: Any) -> OutputRow:
    """A row of the output file: what the line's call would have answered."""
    return _row(line, response=_response(line, 200, body))


def to_failed_row(line: LinePlace, error: JobError, *, undone: bool) -> OutputRow:
    """A row of the error file. A line that is `undone` was not computed to its end; any other row has the
    status and body with which the line's call would have been refused.
    """
    if undone:
        return _row(line, error={"code": error.code, "message": error.message})
    return _row(line, response=_response(line, status_of(error.code), to_error(error)))


def _row(line: LinePlace, response: RowResponse | None = None, error: BriefError | None = None) -> OutputRow:
    return {"id": _row_id(line), "custom_id": line.custom_id, "response": response, "error": error}


def _row_id(line: LinePlace) -> str:
    return f"batch_req_{line.batch.removeprefix('batch_')}_{line.number}"


def _response(line: LinePlace, status: int, body: Any) -> RowResponse:
    return {"status_code": status, "request_id": line.job or _row_id(line), "body": body}


def _errors(batch: records.Batch) -> BatchErrors | None:
    if not batch.errors:
        return None
    return {"object": "list", "data": [cast(BatchError, dict(vars(problem))) for problem in batch.errors]}


def _usage(tokens: records.Tokens) -> BatchUsage:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }
