"""What all processes have counted, summed up in one record of bounded size; see `shared.metrics`."""

import time
from collections.abc import Mapping, Sequence

from shared.store import views
from shared.store.script import AsyncStore, Script, ScriptCall, reaching

COUNT, COUNTS = Script("count"), Script("counts")
MOST = 20_000
"""Series that are kept at most; each model and route has some hundreds."""
REMEMBERED_S = 3600
"""A process that was silent for this long does not repeat its news."""


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
    with reaching():
        await store.client.ping()
    return time.perf_counter() - began
