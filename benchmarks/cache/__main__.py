"""Does the cache answer another question, or miss the same one? Some minutes.

Each pair's first request is submitted, claimed and settled by the real scripts; then its second is submitted.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from matplotlib.figure import Figure

from benchmarks.cache.pairs import SAME, CallersRequest, Pair, pairs
from benchmarks.frame import command, jobs, report
from benchmarks.frame.services import record_server
from benchmarks.frame.statistics import Bound
from shared.cache_key import request_hash, reuse_key
from shared.settings import RedisSettings
from shared.store import admission
from shared.store.script import AsyncStore, connect_async

PAIRS, SEED = 100_000, 1
AT_ONCE = 100
REPORT_PAIRS = 20_000
WORKER = "worker_00"


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
    """Count pairs, and those whose second was answered from the cache, by the field they differ in."""
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


async def answered_from_cache(store: AsyncStore, pairs: Sequence[Pair]) -> list[bool]:
    """Return whether the cache answers the second of each pair after the first ended; empty the store first.

    All models have one fingerprint, so that only the request's hash keeps two requests apart.
    """
    await store.client.flushdb()
    models = sorted({one.request.model for pair in pairs for one in (pair.one, pair.other)})
    await asyncio.gather(*(store.run(jobs.beat(WORKER, jobs.lane_of(model))) for model in models))
    await asyncio.gather(*(_submit(store, pair.one) for pair in pairs))
    await asyncio.gather(*(_settle_one(store, pair.one.request.model) for pair in pairs))
    return await asyncio.gather(*(_submit(store, pair.other) for pair in pairs))


async def _submit(store: AsyncStore, one: CallersRequest) -> bool:
    """Submit as `api/admission/submission.py` does; return whether the cache had the answer."""
    hashed = request_hash(one.request, one.revision)
    key = reuse_key(one.caller, hashed, shared=False)
    placing = jobs.placing(one.request.model, one.caller, hash=hashed, key=key)
    view = (await store.run(admission.submit(placing, jobs.SETTINGS))).view
    return view is not None and view.cache == "HIT"


async def _settle_one(store: AsyncStore, model: str) -> None:
    if claim := await store.run(jobs.claim(WORKER, jobs.lane_of(model))):
        await store.run(jobs.settle(claim, jobs.answer("a job")))


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
