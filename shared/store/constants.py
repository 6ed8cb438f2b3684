"""The settings that the library's functions read, as one text that they decode once."""

from pydantic_core import to_json

from shared.result import JobError
from shared.settings import Settings

REMOVED = JobError(code="model_removed", message="The model was removed while this job waited for it.")
LOST = JobError(code="internal_error", message="The job's run was lost; submit it again.", retryable=True)
LATE = JobError(
    code="deadline_exceeded",
    message="The job had not ended at its `finish_by`. Submit it again with a later one.",
    param="finish_by",
    retryable=True,
)
GAP_ROUNDS = 3
"""After this many rounds of maintenance without a write, workers are taken to have been cut off too."""
GRACE_ROUNDS = 4
"""Renewals that workers get time for after such a gap."""
CALL_SLACK_S = 15
"""Seconds beyond its time limit for which the claim of a webhook call lasts, to write its outcome."""
_LATEST: dict[int, tuple[Settings, str]] = {}
"""The text of the settings used last, by their id, with the object itself: then no other one has that id."""


def constants(settings: Settings) -> str:
    """`_s` are seconds, `_ms` milliseconds; errors are JSON."""
    latest = _LATEST.get(id(settings))
    if latest is None:
        _LATEST.clear()
        latest = _LATEST[id(settings)] = (settings, _text(settings))
    return latest[1]


def _text(settings: Settings) -> str:
    kept, queue = settings.retention, settings.queue
    poison = f"{queue.max_deaths} workers were lost on this request alone."
    values = {
        "result_s": kept.result_s,
        "job_s": kept.job_s,
        "hook_s": settings.webhook.life_s,
        "host_calls": settings.webhook.host_calls,
        "call_ms": round((settings.webhook.limit_s + CALL_SLACK_S) * 1000),
        "idempotency_s": kept.idempotency_s,
        "worker_ttl_s": queue.worker_ttl_s,
        "gap_ms": (GAP_ROUNDS * queue.rescue_s + 1) * 1000,
        "grace_ms": round(GRACE_ROUNDS * queue.renew_s * 1000),
        "lease_ms": round(queue.lease_s * 1000),
        "expire_ms": queue.expire_s * 1000,
        "max_queued": queue.max_queued,
        "shares": settings.api.admin_key is not None,
        "max_failures": queue.max_failures,
        "max_deaths": queue.max_deaths,
        "backoff_ms": queue.backoff_s * 1000,
        "late": LATE.model_dump_json(),
        "expired": expired(queue.expire_s).model_dump_json(),
        "removed": REMOVED.model_dump_json(),
        "lost": LOST.model_dump_json(),
        "logs_ends": settings.log_level in ("debug", "info"),
        "poison": JobError(code="poison", message=poison).model_dump_json(),
    }
    return to_json(values).decode()


def expired(expire_s: float) -> JobError:
    """Return the error of a job that stayed in line for too long."""
    return JobError(
        code="deadline_exceeded",
        message=f"The job stayed in line for {expire_s:,g} s, the limit of SIGHTLINE_QUEUE__EXPIRE_S. "
        "Submit it again; a `finish_by` replaces that limit.",
        retryable=True,
    )
