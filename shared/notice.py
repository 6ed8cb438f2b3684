"""What a caller is told of an event: the same to each webhook, at each try, and in the list of events.

A job is told under the names of `GET /v1/jobs/{id}`, without what only that answers.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shared.job import JobView
from shared.result import Result


@dataclass(frozen=True)
class Notice:
    """One thing that happened at `at_ms`, under the same `id` for everyone who is told of it.

    `subject` is the id of what it happened to. `job` is the job as it stood then, with its answer; for other
    subjects `data` (JSON) is what is told. Once rendered, `body` takes the place of either.
    `request_id` and `trace` (a carrier of `shared.telemetry.traces`) are those of the call
    that asked for the job.
    """

    id: str
    type: str
    at_ms: int
    subject: str
    job: JobView | None = field(default=None, repr=False)
    data: str | None = field(default=None, repr=False)
    body: str | None = field(default=None, repr=False)
    request_id: str = ""
    trace: str = ""


def body_of(notice: Notice) -> str:
    """`{type, timestamp, data}` as JSON."""
    if notice.body is not None:
        return notice.body
    data = _dumped(_told(notice.job)) if notice.job else notice.data
    return f'{{"type":{_dumped(notice.type)},"timestamp":"{_iso(notice.at_ms)}","data":{data}}}'


def _told(job: JobView) -> dict[str, Any]:
    known = {
        "result": None if job.result is None else _result(job.result),
        "error": None if job.error is None else job.error.model_dump(),
        "retry_of": job.retry_of,
    }
    return {
        "id": job.id,
        "object": "job",
        "status": job.status,
        "model": job.model,
        "created_at": job.created_ms / 1000,
        "started_at": None if job.started_ms is None else job.started_ms / 1000,
        "ended_at": None if job.ended_ms is None else job.ended_ms / 1000,
        "cache": job.cache,
        "metadata": job.metadata,
    } | {name: value for name, value in known.items() if value is not None}


def _result(result: Result) -> dict[str, Any]:
    """Without logprobs, which are many times the text: callers can ask for them."""
    usage = result.usage
    return {
        "text": result.text,
        "choices": [choice.model_dump(exclude={"logprobs"}) for choice in result.choices],
        "usage": usage.model_dump() | {"total_tokens": usage.prompt_tokens + usage.completion_tokens},
        "fingerprint": result.fingerprint,
        "compute_s": result.compute_s,
    }


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
