"""Sums of what all processes count, in one record of bounded size, and samples of them for charts; the ends
of jobs, for the log.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field, Json
from pydantic_core import from_json, to_json

from shared.metrics.series import LONGEST_MIN, STEP_S, Sample
from shared.result import Usage
from shared.settings import Settings
from shared.store import views
from shared.store.constants import constants
from shared.store.records import read
from shared.store.script import AsyncStore, ScriptCall, store_errors

MOST = 20_000
"""Series that are kept at most; each model and route has some hundreds."""
REMEMBERED_S = 3600
"""A process that was silent for this long does not repeat its news."""
AT_ONCE = 500
MOST_SAMPLED = 100
"""Models and lanes of one sample at most, two hundred bytes each."""
READING_S = 60
"""Reports of ended jobs are written for this long after they were last read."""


def count(process: str, number: int, news: Sequence[tuple[str, float]]) -> ScriptCall[str]:
    """Add what a process has counted since its last news; `number` tells these from a repeat."""
    arguments = {"process": process, "number": number, "news": news, "most": MOST, "life_s": REMEMBERED_S}
    return ScriptCall("count", arguments, str)


def counts() -> ScriptCall[Mapping[str, float]]:
    """All sums by the series' names."""
    return read(("HGETALL", "counts"), lambda reply: {k: float(v) for k, v in views.pairs(reply).items()})


def sample(
    settings: Settings, counts: Mapping[str, Sequence[float]], refusals: Mapping[str, float]
) -> ScriptCall[int]:
    """Keep how every line stands now, the `counters` of models and what was refused by code, for as long as
    charts show them.

    Returns the store's time in Unix ms.
    """
    chosen = dict(list(counts.items())[:MOST_SAMPLED])
    longest_s = LONGEST_MIN * 60
    arguments = {"most": MOST_SAMPLED, "keep": longest_s // STEP_S + 1, "life_s": longest_s}
    text = to_json({"counts": chosen, "refusals": refusals}).decode()
    return ScriptCall("sample", arguments, int, text, constants=constants(settings))


def series() -> ScriptCall[tuple[int, list[Sample]]]:
    """The store's time in Unix ms, and the samples, the oldest first."""

    def parse(reply: list[Any]) -> tuple[int, list[Sample]]:
        now_ms, rows = reply
        return now_ms, [Sample(**from_json(row)) for row in rows]

    return ScriptCall("series", {}, parse)


async def round_trip_s(store: AsyncStore) -> float:
    """How long the record store takes to answer at all. Raises Unavailable."""
    began = time.perf_counter()
    with store_errors():
        await store.client.ping()
    return time.perf_counter() - began


class JobEnd(BaseModel, frozen=True):
    """How a job ended; times in Unix ms. `attempt` is the last one of its run, 0 where it has none.

    `placed_ms` is when its run came into line, which may be before the job did; None where it has no run.
    """

    job: str
    status: str
    caller: str
    model: str
    priority: str = Field(alias="class")
    created_ms: int = Field(alias="created")
    ended_ms: int = Field(alias="ended")
    placed_ms: int | None = Field(None, alias="placed")
    started_ms: int | None = Field(None, alias="started")
    run: str | None = None
    attempt: int = 0
    cache: str | None = None
    request_id: str | None = None
    code: str | None = None
    usage: Json[Usage] | None = None


def job_ends() -> ScriptCall[list[JobEnd]]:
    """The next at most `AT_ONCE` jobs that ended, each reported once."""
    arguments = {"limit": AT_ONCE, "reading_ms": READING_S * 1000}
    return ScriptCall("ended", arguments, lambda reply: [JobEnd.model_validate_json(row) for row in reply])
