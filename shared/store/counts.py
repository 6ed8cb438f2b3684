"""What all processes have counted, summed up in one record of bounded size; see `shared.metrics`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.store import views
from shared.store.memory import Memory, read
from shared.store.script import AsyncStore, Script, ScriptCall, reaching

COUNT, COUNTS = Script("count"), Script("counts")
MOST = 20_000
"""Series that are kept at most; each model and route has some hundreds."""
REMEMBERED_S = 3600
"""A process that was silent for this long does not repeat its news."""


@dataclass(frozen=True)
class Counts:
    """`totals` by the series' names, and the server's memory."""

    totals: Mapping[str, float]
    memory: Memory


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


def counts() -> ScriptCall[Counts]:
    """All sums."""

    def parse(reply: list[Any]) -> Counts:
        flat, memory = reply
        totals = {name: float(value) for name, value in views.pairs(flat).items()}
        return Counts(totals, read(memory))

    return ScriptCall(COUNTS, {}, parse)


async def round_trip_s(store: AsyncStore) -> float:
    """How long the record store takes to answer at all. Raises Unavailable."""
    began = time.perf_counter()
    with reaching():
        await store.client.ping()
    return time.perf_counter() - began
