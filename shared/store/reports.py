"""The ends of jobs, whoever ended them, for the log; written only while somebody reads them."""

import json
from dataclasses import dataclass
from typing import Any

from shared.result import Usage
from shared.store.script import Script, ScriptCall

ENDED = Script("ended")
AT_ONCE = 500
READING_S = 60
"""Reports are written for this long after they were last read."""


@dataclass(frozen=True)
class Report:
    """How a job ended; times in Unix ms. `attempt` is the last one of its run, 0 where it has none.

    `placed_ms` is when its run came into line, which may be before the job did; None where it has no run.
    """

    job: str
    status: str
    caller: str
    model: str
    priority: str
    created_ms: int
    ended_ms: int
    placed_ms: int | None
    started_ms: int | None
    run: str | None
    attempt: int
    cache: str | None
    request_id: str | None
    code: str | None
    usage: Usage | None


def ended() -> ScriptCall[list[Report]]:
    """The next at most `AT_ONCE` jobs that ended, each told once."""
    arguments = {"limit": AT_ONCE, "reading_ms": READING_S * 1000}
    return ScriptCall(ENDED, arguments, lambda reply: [_report(json.loads(row)) for row in reply])


def _report(row: dict[str, Any]) -> Report:
    return Report(
        job=row["job"],
        status=row["status"],
        caller=row["caller"],
        model=row["model"],
        priority=row["class"],
        created_ms=int(row["created"]),
        ended_ms=int(row["ended"]),
        # An older process did not tell it.
        placed_ms=int(row.get("placed", row["created"])) if "run" in row else None,
        started_ms=int(row["started"]) if "started" in row else None,
        run=row.get("run"),
        attempt=int(row.get("attempt", 0)),
        cache=row.get("cache"),
        request_id=row.get("request_id"),
        code=row.get("code"),
        usage=Usage.model_validate_json(row["usage"]) if "usage" in row else None,
    )
