"""Pairs asked one after the other of the real scripts: what the cache answers to the second."""

import asyncio
from collections.abc import Sequence

from benchmarks.cache.pairs import CallersRequest, Pair
from benchmarks.frame import jobs
from shared.cache_key import request_hash, reuse_key
from shared.store import admission
from shared.store.script import AsyncStore

WORKER = "worker_00"


async def answered_from_cache(store: AsyncStore, pairs: Sequence[Pair]) -> list[bool]:
    """Whether the cache answers the second of each pair after the first ended. Empties the store first.

    All models have one fingerprint, so that only the request's hash keeps two requests apart.
    """
    await store.client.flushdb()
    models = sorted({one.request.model for pair in pairs for one in (pair.one, pair.other)})
    await asyncio.gather(*(store.run(jobs.beat(WORKER, jobs.lane_of(model))) for model in models))
    await asyncio.gather(*(_submit(store, pair.one) for pair in pairs))
    await asyncio.gather(*(_settle_one(store, pair.one.request.model) for pair in pairs))
    return await asyncio.gather(*(_submit(store, pair.other) for pair in pairs))


async def _submit(store: AsyncStore, one: CallersRequest) -> bool:
    """Submit as admission does (`api/admission/submission.py`); whether the cache had the answer."""
    hashed = request_hash(one.request, one.revision)
    key = reuse_key(one.caller, hashed, shared=False)
    placing = jobs.placing(one.request.model, one.caller, hash=hashed, key=key)
    view = (await store.run(admission.submit(placing, jobs.SETTINGS))).view
    return view is not None and view.cache == "HIT"


async def _settle_one(store: AsyncStore, model: str) -> None:
    if claim := await store.run(jobs.claim(WORKER, jobs.lane_of(model))):
        await store.run(jobs.settle(claim, jobs.answer("a job")))
