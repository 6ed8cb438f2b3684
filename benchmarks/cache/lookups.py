"""Pairs asked one after the other of the real scripts: what the cache answers to the second."""

import asyncio
from collections.abc import Sequence

from benchmarks.cache.pairs import CallersRequest, Pair
from shared import ids
from shared.cache_key import request_hash, reuse_key
from shared.result import Choice, Result, Usage
from shared.settings import QueueSettings, Settings
from shared.store import admission, claims, workers
from shared.store.admission import Placing
from shared.store.script import AsyncStore

SETTINGS = Settings(queue=QueueSettings(max_queued=1_000_000, max_queued_caller=1_000_000))
FINGERPRINT = "0" * 32
"""The fingerprint of every model, so that only the request's hash keeps two requests apart."""
WORKER = "worker_00"
ANSWER = Result(
    choices=(Choice(text="a job", finish_reason="stop"),),
    usage=Usage(prompt_tokens=1, completion_tokens=1),
    fingerprint=FINGERPRINT,
    compute_s=1.0,
)


async def answered_from_cache(store: AsyncStore, pairs: Sequence[Pair]) -> list[bool]:
    """Whether the cache answers the second of each pair after the first ended. Empties the store first."""
    await store.client.flushdb()
    lanes = sorted({_lane(one) for pair in pairs for one in (pair.one, pair.other)})
    await asyncio.gather(*(_beat(store, lane) for lane in lanes))
    await asyncio.gather(*(_submit(store, pair.one) for pair in pairs))
    await asyncio.gather(*(_settle_one(store, _lane(pair.one)) for pair in pairs))
    return await asyncio.gather(*(_submit(store, pair.other) for pair in pairs))


def _lane(one: CallersRequest) -> str:
    return f"model.{one.request.model.replace('/', '--')}"


async def _beat(store: AsyncStore, lane: str) -> None:
    facts = {"rows": "1", "slots": "1"}
    heartbeat = workers.beat(
        SETTINGS, worker=WORKER, lane=lane, state="ready", fingerprint=FINGERPRINT, facts=facts
    )
    await store.run(heartbeat)


async def _submit(store: AsyncStore, one: CallersRequest) -> bool:
    """Submit as admission does (`api/admission/submission.py`); whether the cache had the answer."""
    hashed = request_hash(one.request, one.revision)
    placing = Placing(
        job=ids.job_id(),
        run=ids.run_id(),
        caller=one.caller,
        model=one.request.model,
        lane=_lane(one),
        priority="normal",
        hash=hashed,
        key=reuse_key(one.caller, hashed, shared=False),
        blobs=(),
        cost=1,
        request="{}",
    )
    view = (await store.run(admission.submit(placing, SETTINGS))).view
    return view is not None and view.cache == "HIT"


async def _settle_one(store: AsyncStore, lane: str) -> None:
    claim = await store.run(
        claims.claim(SETTINGS, lane=lane, worker=WORKER, token=ids.token(), fingerprint=FINGERPRINT)
    )
    if claim is not None:
        await store.run(claims.settle(SETTINGS, claim, ANSWER, fingerprint=FINGERPRINT))
