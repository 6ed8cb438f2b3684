"""Whether the cache answers another question, or misses the same: some minutes.

Each pair's first request is submitted, claimed and settled by the real scripts; then its second is submitted.
"""

import asyncio
from collections import Counter
from itertools import islice

from matplotlib.figure import Figure

from benchmarks.cache.lookups import answered_from_cache
from benchmarks.cache.pairs import SAME, pairs
from benchmarks.frame import command, report
from benchmarks.frame.services import record_server
from benchmarks.frame.statistics import Bound
from shared.settings import RedisSettings
from shared.store.script import connect_async

PAIRS, SEED = 100_000, 1
AT_ONCE = 100
REPORT_PAIRS = 20_000


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    with record_server() as records:
        asked, hits = asyncio.run(_look_up_all(records.settings, arguments.pairs, say))
    wrong = sum(count for field, count in hits.items() if field != SAME)
    figures = {
        "pairs": asked.total(),
        "asked": dict(asked),
        "answered_from_cache": dict(hits),
    }
    bounds = [
        Bound("pairs that differ, answered alike", wrong, 0, "pairs"),
        Bound("pairs that are the same, computed twice", asked[SAME] - hits[SAME], 0, "pairs"),
    ]
    return report.Findings(figures, _picture(asked, hits), bounds)


async def _look_up_all(
    redis: RedisSettings, count: int, say: command.Say
) -> tuple[Counter[str], Counter[str]]:
    """Pairs, and those of them whose second was answered from the cache, by the field they differ in."""
    store, asked, hits = connect_async(redis), Counter[str](), Counter[str]()
    drawn = pairs(count, SEED)
    while some := list(islice(drawn, AT_ONCE)):
        found = await answered_from_cache(store, some)
        asked.update(pair.field for pair in some)
        hits.update(pair.field for pair, hit in zip(some, found, strict=True) if hit)
        if asked.total() % REPORT_PAIRS == 0:
            say(f"{asked.total():,} pairs")
    await store.client.aclose()
    return asked, hits


def _picture(asked: Counter[str], hits: Counter[str]) -> Figure:
    """For each field, how many pairs differed in it, and how many of these the cache took for the same."""
    names = sorted(asked, key=lambda field: (field != SAME, field), reverse=True)
    figure, panel = report.figure(size=(8, 0.18 * len(names) + 1))
    panel.barh(
        names, [asked[name] for name in names], color=report.GRAY, label="pairs that differ in this field"
    )
    panel.barh(names, [hits[name] for name in names], color=report.SERIES[0], label="answered from the cache")
    panel.set_xscale("symlog", linthresh=1)
    panel.margins(y=0.01)
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", labelsize=7)
    report.label(panel, "pairs", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


if __name__ == "__main__":
    command.main("cache", __doc__, measure, pairs=(PAIRS, "pairs of requests"))
