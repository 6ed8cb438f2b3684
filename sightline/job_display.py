"""Formats jobs for people at a terminal."""

from typing import Any

from sightline.jobs import Job, texts
from sightline.terminal import columns, moment_if_any, named, plain, span

COLUMNS = ("ID", "STATUS", "MODEL", "AGE", "DETAIL")
TIMES = ("started_at", "ended_at", "schedule_at", "start_by", "finish_by")


def table(jobs: list[Job], now: float) -> list[str]:
    """A line for each job, in columns under a heading."""
    return columns([COLUMNS, *(_row(job, now) for job in jobs)])


def card(job: Job, now: float) -> list[str]:
    """All that is known of one job, one name and value a line; the answers last."""
    facts = [
        ("id", job["id"]),
        ("status", f"{job['status']} ({detail(job)})"),
        ("model", job["model"]),
        ("priority", job["priority"]),
        ("cache", job["cache"]),
        ("retry of", job.get("retry_of")),
        *(("metadata", f"{name}={value}") for name, value in job["metadata"].items()),
        ("created", f"{moment_if_any(job['created_at'])}, {span(now - job['created_at'])} ago"),
        *((name.removesuffix("_at").replace("_", " "), moment_if_any(job.get(name))) for name in TIMES),
        ("estimate", expected(job.get("estimate"))),
        *(("attempt", _attempt(attempt)) for attempt in job["attempts"]),
        ("error", failure(job["error"]) if "error" in job else None),
    ]
    lines = named(facts)
    answers = texts(job) if "result" in job else []
    return [*lines, *(line for text in answers for line in ("", plain(text)))]


def detail(job: Job) -> str:
    """Why a job waits, how far it is, or how it ended."""
    match job["status"]:
        case "succeeded" if job["cache"] == "HIT":
            return "from the cache"
        case "succeeded" | "cancelled":
            return f"after {span(job['ended_at'] - job['created_at'])}"
        case "failed":
            return str(job["error"]["code"])
    return _waiting(job) or f"attempt {len(job['attempts'])}"


def failure(error: dict[str, Any]) -> str:
    """A job's error in one line."""
    named = f" ({error['param']})" if error["param"] else ""
    return f"{error['code']}: {error['message']}{named}"


def _row(job: Job, now: float) -> tuple[str, ...]:
    age = span(now - job["created_at"])
    return tuple(plain(cell) for cell in (job["id"], job["status"], job["model"], age, detail(job)))


def _waiting(job: Job) -> str:
    """Why and how long a job waits; empty where it does not."""
    words = [str(job.get("waiting_reason") or "")]
    if "estimate" in job:
        words += [f"{job['ahead']} ahead", f"begins in {span(job['estimate']['p50'])}"]
    elif words == ["scheduled"]:
        words += [f"begins {moment_if_any(job['schedule_at'])}"]
    return ", ".join(words)


def expected(estimate: dict[str, Any] | None) -> str | None:
    """When a job begins and how long it takes."""
    if estimate is None:
        return None
    half, most, service = (span(estimate[name]) for name in ("p50", "p90", "service_s"))
    return f"begins in {half}, nine times in ten in {most}, then takes {service} ({estimate['basis']})"


def _attempt(attempt: dict[str, Any]) -> str:
    head = f"{attempt['number']} by {attempt['worker']} from {moment_if_any(attempt['started_at'])}"
    if attempt["ended_at"] is None:
        return f"{head}: goes on"
    return f"{head}, {span(attempt['ended_at'] - attempt['started_at'])}: {attempt['outcome']}"
