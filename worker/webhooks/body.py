"""What a webhook is told: the job under the names of `GET /v1/jobs/{id}`, without what only that answers."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from shared.job import JobView
from shared.result import Result
from shared.store.hooks import Errand
from shared.webhooks import RUNNING


def render(errand: Errand) -> str:
    """`{type, timestamp, data}`; the time is that of the event, and the job stands as it stood then."""
    told = {
        "type": errand.event,
        "timestamp": _iso(errand.at_ms),
        "data": _job(_begun(errand.job) if errand.event == RUNNING else errand.job),
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _begun(job: JobView) -> JobView:
    """A job that may have ended since."""
    return replace(job, status="running", ended_ms=None, result=None, error=None)


def _job(job: JobView) -> dict[str, Any]:
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
    """Logprobs are left to who asks: they are many times the text."""
    usage = result.usage
    return {
        "text": result.text,
        "choices": [choice.model_dump(exclude={"logprobs"}) for choice in result.choices],
        "usage": usage.model_dump() | {"total_tokens": usage.prompt_tokens + usage.completion_tokens},
        "fingerprint": result.fingerprint,
        "compute_s": result.compute_s,
    }


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
