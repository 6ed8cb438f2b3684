"""Jobs of pages: what POST /v1/jobs takes with `document`, the job of all pages, and the pages' rows."""

from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.fields import BriefError, FailureCount, seconds
from api.dialects.native.jobs import JobChoice, JobQuestion, JobUsage, known
from api.dialects.strict_json import RequestBody
from api.dialects.webhooks import WebhookState, to_hook
from shared import batch as records
from shared.job import Estimate, Hook, Status
from shared.request import Document, Message, Request


class PagedDocument(RequestBody):
    """An uploaded document; `pages` is like `1-3,7` or `5-`, all where it is left out."""

    file: str
    pages: str | None = None
    per: Literal["page"]


def with_document(messages: tuple[Message, ...], document: PagedDocument) -> tuple[Message, ...]:
    """The conversation with the document before what its user asks last."""
    part = Document(file=document.file, pages=document.pages, param="document.file")
    last = max((at for at, turn in enumerate(messages) if turn.role == "user"), default=len(messages) - 1)
    turn = messages[last]
    return (*messages[:last], turn.model_copy(update={"parts": (part, *turn.parts)}), *messages[last + 1 :])


class PageCounts(TypedDict):
    total: int
    succeeded: int
    failed: int


class PageJobUrls(TypedDict):
    self: str
    cancel: str
    events: str
    pages: str


class PageJob(TypedDict):
    """A job of pages. `ends_in_s` is when its last page is done: at the pace so far, or as the queue says."""

    id: str
    object: Literal["job"]
    status: Status
    model: str
    priority: Literal["batch"]
    created_at: float
    started_at: float | None
    ended_at: float | None
    metadata: dict[str, str]
    urls: PageJobUrls
    question: NotRequired[Annotated[JobQuestion, Field(description="For keys that may read.")]]
    pages: PageCounts
    ends_in_s: NotRequired[float]
    webhook: NotRequired[Annotated[WebhookState, Field(description="Where it has one.")]]
    error: NotRequired[Annotated[BriefError, Field(description="Of a job that failed.")]]
    failures: NotRequired[
        Annotated[list[FailureCount], Field(description="Why pages failed, the most frequent reason first.")]
    ]


class PageRow(TypedDict):
    """How a page ended: with an answer or an error."""

    page: int
    status: Literal["succeeded", "failed"]
    job: NotRequired[Annotated[str, Field(description="The page's own job, where it had one.")]]
    text: NotRequired[str]
    choices: NotRequired[list[JobChoice]]
    usage: NotRequired[JobUsage]
    error: NotRequired[BriefError]


class PageEvent(TypedDict):
    """The data of an event: of `page` a row, of the last the job as it ended."""

    row: NotRequired[PageRow]
    job: NotRequired[PageJob]


def to_page_job(
    batch: records.Batch, estimate: Estimate | None, hook: Hook | None, *, reads: bool
) -> PageJob:
    """The job for a key that may read, or may not: then without its question."""
    url, asked = f"/v1/jobs/{batch.id}", _request_of(batch)
    ended = next((batch.stages_ms[s] for s in records.ENDED if s in batch.stages_ms), None)
    job: PageJob = {
        "id": batch.id,
        "object": "job",
        "status": status_of(batch),
        "model": asked.model,
        "priority": "batch",
        "created_at": batch.created_ms / 1000,
        "started_at": seconds(batch.stages_ms.get("in_progress")),
        "ended_at": seconds(ended),
        "metadata": batch.metadata,
        "urls": {"self": url, "cancel": f"{url}/cancel", "events": f"{url}/events", "pages": f"{url}/pages"},
        "pages": {"total": batch.page_count, "succeeded": batch.completed, "failed": batch.failed},
    }
    facts = {
        "question": {"text": asked.question, "pictures": len(asked.images)} if reads else None,
        "ends_in_s": _ends_in_s(batch, estimate),
        "webhook": to_hook(hook) if hook else None,
        "error": _error(batch),
        "failures": [dict(vars(failure)) for failure in batch.failures] or None,
    }
    return cast(PageJob, job | known(facts))


def model_of(batch: records.Batch) -> str:
    return _request_of(batch).model


def _request_of(batch: records.Batch) -> Request:
    return Request.model_validate_json(batch.question or "")


def status_of(batch: records.Batch) -> Status:
    if batch.stage == "completed":
        return "succeeded" if batch.completed else "failed"
    if batch.stage in ("failed", "expired"):
        return "failed"
    if batch.stage == "cancelled":
        return "cancelled"
    return "queued" if batch.stage == "validating" else "running"


def _ends_in_s(batch: records.Batch, estimate: Estimate | None) -> float | None:
    done, began = batch.completed + batch.failed, batch.stages_ms.get("in_progress")
    if batch.stage == "in_progress" and done and began is not None and batch.now_ms is not None:
        return round((batch.page_count - done) * (batch.now_ms - began) / 1000 / done, 1)
    return None if estimate is None else round(estimate.p50 + estimate.service_s, 1)


def _error(batch: records.Batch) -> BriefError | None:
    if status_of(batch) != "failed":
        return None
    if batch.stage == "expired":
        return {"code": "deadline_exceeded", "message": "Not all pages were computed within 24 hours."}
    for problem in batch.errors:
        return {"code": problem.code, "message": problem.message}
    return {"code": "invalid_document", "message": "No page was answered; `urls.pages` says why, by page."}


def to_page_row(row: dict[str, Any]) -> tuple[int, PageRow]:
    """A page's place among those that are asked about, from 1, and its row, from that of the batch."""
    answer: dict[str, Any] = {"page": int(row["custom_id"])}
    response = row["response"] or {}
    if response.get("status_code") == 200:
        body = response["body"]
        fields = {name: body[name] for name in ("text", "choices", "usage")}
        answer |= {"status": "succeeded", "job": response["request_id"], **fields}
    else:
        error = row["error"] or response["body"]["error"]
        job = response.get("request_id", "")
        answer |= {"status": "failed", "error": {name: error[name] for name in ("code", "message")}}
        answer |= known({"job": job if job.startswith("job_") else None})
    return int(row["id"].rpartition("_")[2]), cast(PageRow, answer)
