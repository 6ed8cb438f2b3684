"""Sums of what all processes count, in one record of bounded size; the ends of jobs, for the log."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.result import Usage
from shared.store import views
from shared.store.script import AsyncStore, Script, ScriptCall, store_errors

COUNT, COUNTS, ENDED = Script("count"), Script("counts"), Script("ended")
MOST = 20_000
"""Series that are kept at most; each model and route has some hundreds."""
REMEMBERED_S = 3600
"""A process that was silent for this long does not repeat its news."""
AT_ONCE = 500
READING_S = 60
"""Reports of ended jobs are written for this long after they were last read."""


def count(process: str, number: int, news: Sequence[tuple[str, float]]) -> ScriptCall[str]:
    """Add what a process has counted since its last news; `number` tells these from a repeat."""
    arguments = {
        "process": process,
        "number": number,
        "news": [list(one) for one in news],
        "most": MOST,
        "life_s": REMEMBERED_S,
    }
    return ScriptCall(COUNT, arguments, str)


def counts() -> ScriptCall[Mapping[str, float]]:
    """All sums by the series' names."""

    def parse(reply: list[str]) -> Mapping[str, float]:
        return {name: float(value) for name, value in views.pairs(reply).items()}

    return ScriptCall(COUNTS, {}, parse)


async def round_trip_s(store: AsyncStore) -> float:
    """How long the record store takes to answer at all. Raises Unavailable."""
    began = time.perf_counter()
    with store_errors():
        await store.client.ping()
    return time.perf_counter() - began


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
        placed_ms=views.integer(row, "placed"),
        started_ms=views.integer(row, "started"),
        run=row.get("run"),
        attempt=int(row.get("attempt", 0)),
        cache=row.get("cache"),
        request_id=row.get("request_id"),
        code=row.get("code"),
        usage=Usage.model_validate_json(row["usage"]) if "usage" in row else None,
    )
