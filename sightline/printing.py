"""Jobs as people read them in a terminal."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sightline.jobs import Job, texts

COLUMNS = ("ID", "STATUS", "MODEL", "AGE", "DETAIL")
TIMES = ("started_at", "ended_at", "schedule_at", "start_by", "finish_by")
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
# What moves a cursor, rings, or hides text: answers and metadata are other people's words.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Text that only prints."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def show_json(value: Any) -> None:
    """One value, one line."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def show_secret(named: dict[str, Any], whose: str, *, as_json: bool) -> None:
    """What is shown this once. The secret alone on standard output, for scripts."""
    if as_json:
        show_json(named)
        return
    said = f"sightline: {named['id']} of {whose}; its secret is shown this once:"
    print(plain(said), file=sys.stderr, flush=True)
    print(plain(named["secret"]))


def show_piece(piece: str) -> None:
    """The next piece of a text, at once."""
    print(plain(piece), end="", flush=True)


def table(jobs: list[Job], now: float) -> list[str]:
    """A line for each job under a head, in columns."""
    return columns([COLUMNS, *(_row(job, now) for job in jobs)])


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of as many cells each, the cells below one another."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def card(job: Job, now: float) -> list[str]:
    """Everything that is known of one job, a name and its value a line; the answers last."""
    facts = [
        ("id", job["id"]),
        ("status", f"{job['status']} ({detail(job)})"),
        ("model", job["model"]),
        ("priority", job["priority"]),
        ("cache", job["cache"]),
        ("retry of", job.get("retry_of")),
        *(("metadata", f"{name}={value}") for name, value in job["metadata"].items()),
        ("created", f"{_moment(job['created_at'])}, {span(now - job['created_at'])} ago"),
        *((name.removesuffix("_at").replace("_", " "), _moment(job.get(name))) for name in TIMES),
        ("estimate", expected(job.get("estimate"))),
        *(("attempt", _attempt(attempt)) for attempt in job["attempts"]),
        ("error", failure(job["error"]) if "error" in job else None),
    ]
    lines = named(facts)
    answers = texts(job) if "result" in job else []
    return [*lines, *(line for text in answers for line in ("", plain(text)))]


def named(facts: Sequence[tuple[str, str | None]]) -> list[str]:
    """A name and its value a line; what is not known is left out."""
    return [f"{name:<10}{plain(value)}" for name, value in facts if value is not None]


def detail(job: Job) -> str:
    """Why it waits, how far it is, or how it ended."""
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


def span(seconds: float) -> str:
    """How long, in its largest unit; tenths where they matter."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    return f"{int(seconds / size)}{unit}"


def _row(job: Job, now: float) -> tuple[str, ...]:
    age = span(now - job["created_at"])
    return tuple(plain(cell) for cell in (job["id"], job["status"], job["model"], age, detail(job)))


def _waiting(job: Job) -> str:
    """Empty where it does not wait."""
    words = [str(job.get("waiting_reason") or "")]
    if "estimate" in job:
        words += [f"{job['ahead']} ahead", f"begins in {span(job['estimate']['p50'])}"]
    elif words == ["scheduled"]:
        words += [f"begins {_moment(job['schedule_at'])}"]
    return ", ".join(words)


def expected(estimate: dict[str, Any] | None) -> str | None:
    """When it begins and how long it takes."""
    if estimate is None:
        return None
    half, most, service = (span(estimate[name]) for name in ("p50", "p90", "service_s"))
    return f"begins in {half}, nine times in ten in {most}, then takes {service} ({estimate['basis']})"


def _attempt(attempt: dict[str, Any]) -> str:
    head = f"{attempt['number']} by {attempt['worker']} from {_moment(attempt['started_at'])}"
    if attempt["ended_at"] is None:
        return f"{head}: goes on"
    return f"{head}, {span(attempt['ended_at'] - attempt['started_at'])}: {attempt['outcome']}"


def _moment(unix_s: float | None) -> str | None:
    return None if unix_s is None else moment(unix_s)


def moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
