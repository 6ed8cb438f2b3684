"""`python -m benchmarks.cache`: some minutes later a table, results/cache.json and cache.svg.

Exits with 1 where a target was missed.
"""

import asyncio
import signal
import sys
from collections import Counter
from itertools import islice
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks import findings, server
from benchmarks.cache.pairs import SAME, pairs
from benchmarks.cache.playing import answered_from_cache
from shared.settings import RedisSettings
from shared.store.script import connect, connect_async

PAIRS = 100_000
SEED = 1
AT_ONCE = 100
TOLD_EVERY = 20_000


def main() -> int:
    arguments = findings.arguments(
        "cache", __doc__ or "", pairs=(PAIRS, "pairs of requests"), seed=(SEED, "of what is drawn")
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with server.opened() as redis:
        measured = findings.origin(connect(redis).client)
        asked, hits = asyncio.run(_play(redis, arguments.pairs, arguments.seed))
    wrong = {what: count for what, count in hits.items() if what != SAME}
    measured |= {
        "pairs": sum(asked.values()),
        "seed": arguments.seed,
        "asked": dict(asked),
        "answered_from_cache": dict(hits),
    }
    bounds = [
        findings.Bound("pairs that differ, answered alike", sum(wrong.values()), 0, "pairs"),
        findings.Bound("pairs that are the same, computed twice", asked[SAME] - hits[SAME], 0, "pairs"),
    ]
    return findings.conclude(arguments.out, "cache", measured, bounds, _drawn(asked, hits))


async def _play(redis: RedisSettings, count: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """Pairs, and those of them whose second was answered from the cache, by what they differ in."""
    store, say = connect_async(redis), findings.telling()
    asked: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    drawn = pairs(count, seed)
    while some := list(islice(drawn, AT_ONCE)):
        found = await answered_from_cache(store, some)
        asked.update(pair.what for pair in some)
        hits.update(pair.what for pair, hit in zip(some, found, strict=True) if hit)
        if asked.total() % TOLD_EVERY == 0:
            say(f"{asked.total():,} pairs")
    await store.client.aclose()
    return asked, hits


def _drawn(asked: Counter[str], hits: Counter[str]) -> Figure:
    """For each field, how many pairs differed in it, and how many of these the cache took for the same."""
    pyplot.switch_backend("svg")
    names = sorted(asked, key=lambda what: (what != SAME, what), reverse=True)
    figure, panel = pyplot.subplots(figsize=(8, 0.18 * len(names) + 1))
    shown: list[tuple[str, Any, str]] = [
        ("pairs that differ in this field", asked, "tab:gray"),
        ("answered from the cache", hits, "tab:red"),
    ]
    for label, counts, color in shown:
        panel.barh(names, [counts[name] for name in names], color=color, label=label)
    panel.set_xscale("symlog", linthresh=1)
    panel.tick_params(axis="y", labelsize=7)
    panel.set_xlabel("pairs")
    panel.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    sys.exit(main())
