"""Answers from the cache for callers who ask for nothing more: read from the store, and no job is made.

A call that repeats another, byte by byte, is not read and checked again for some seconds: that takes several
times as long as its answer does.
"""

import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from shared import ids
from shared.errors import CallerError, Unavailable
from shared.job import Computed, Event, JobView
from shared.metrics.api_counters import ADMITTED
from shared.models import Model, Models
from shared.settings import Settings
from shared.store.admission import Cached, Placing, cached, keep_answer
from shared.store.script import AsyncStore
from shared.telemetry import traces
from shared.telemetry.logs import fields
from shared.value_object import value_object

log = logging.getLogger("api.admission")
LEAST_LEFT = 0.9
"""An answer with a smaller part of its life left is kept for all of it again."""
MOST_CALLS, CALL_LIFE_S = 512, 10.0
"""Calls that are remembered, and for how long: what they were checked against may change."""
MOST_TEXT = 4096
"""Characters of a request that is remembered."""


@value_object
class Lookup:
    """What finds an answer in the cache, with the `texts` of its events or without.

    It is kept for `retain_s` from now on; None = as long as the settings keep results.
    """

    placing: Placing
    texts: bool
    retain_s: int | None


@value_object
class CachedAnswer(JobView):
    """An answer from the cache for which no job was made: nobody else knows its id.

    `texts` are the data of the `text` events, empty where they were not asked for.
    """

    texts: tuple[dict[str, Any], ...] = ()
    lookup: Lookup | None = None

    @property
    def recorded_id(self) -> str | None:
        """That of its caller's own job that computed it, if any."""
        return self.computed.job if self.computed else None

    @property
    def events(self) -> list[Event]:
        texts = [Event(at, "text", data, self.created_ms) for at, data in enumerate(self.texts, 1)]
        return [*texts, Event(len(texts) + 1, self.status, {}, self.created_ms)]


class CachedAnswers:
    """Those of one store, and the calls that got them lately."""

    def __init__(self, settings: Settings, models: Models, store: AsyncStore) -> None:
        self._settings = settings
        self._models = models
        self._store = store
        self._calls: dict[bytes, tuple[float, Model, Lookup, Any]] = {}

    async def find(self, lookup: Lookup) -> CachedAnswer | None:
        """Raises Unavailable."""
        entry = await self._store.run(cached(lookup.placing, self._settings, texts=lookup.texts))
        if entry is None:
            return None
        await self._keep(entry, lookup.retain_s)
        answer = _view(lookup, entry)
        ADMITTED.labels(answer.model, answer.priority, "hit").inc()
        trace(answer, entry.trace)
        _log(answer, entry)
        return answer

    async def find_again(self, key: bytes) -> tuple[CachedAnswer, Any] | None:
        """The answer of a call that was remembered by this key, and the `call`. Raises Unavailable."""
        until, model, lookup, call = self._calls.get(key, (0.0, None, None, None))
        if lookup is None or time.monotonic() > until or model != self._model(lookup):
            return None
        answer = await self.find(lookup)
        return (answer, call) if answer else None

    def _model(self, lookup: Lookup) -> Model | None:
        """None where it was removed; another one where its row was changed."""
        with suppress(CallerError):
            return self._models.resolve(lookup.placing.model)
        return None

    def remember(self, key: bytes, answer: JobView, call: Any) -> None:
        """Remember a call without anything large in it, if it got a cached answer."""
        lookup = answer.lookup if isinstance(answer, CachedAnswer) else None
        model = self._model(lookup) if lookup else None
        if lookup is None or model is None or len(lookup.placing.request) > MOST_TEXT:
            return
        lookup = replace(lookup, placing=replace(lookup.placing, request=""))
        self._calls.pop(key, None)
        self._calls[key] = time.monotonic() + CALL_LIFE_S, model, lookup, call
        if len(self._calls) > MOST_CALLS:
            del self._calls[next(iter(self._calls))]

    async def _keep(self, entry: Cached, retain_s: int | None) -> None:
        life_s = retain_s or self._settings.retention.result_s
        if entry.left_ms < LEAST_LEFT * life_s * 1000:
            # A store that takes no writes can still be read.
            with suppress(Unavailable):
                await self._store.run(keep_answer(self._settings, entry.run, retain_s))


def _view(lookup: Lookup, entry: Cached) -> CachedAnswer:
    placing = lookup.placing
    return CachedAnswer(
        ids.job_id(),
        placing.caller,
        placing.model,
        "succeeded",
        entry.now_ms,
        ended_ms=entry.now_ms,
        cache="HIT",
        result=entry.result,
        computed=Computed(entry.run, entry.own_job),
        priority=placing.priority,
        bytes=entry.bytes,
        texts=entry.texts,
        lookup=lookup,
    )


def trace(job: JobView, shared: str) -> None:
    """Note a job on the request's trace, with a link to an earlier request (a carrier) that computes it."""
    if not traces.on():
        return
    attributes = {"gen_ai.request.model": job.model, "sightline.cache": job.cache or ""}
    if job.recorded_id:
        attributes["sightline.job.id"] = job.recorded_id
    traces.set_attributes(attributes)
    traces.link(shared)


def _log(answer: CachedAnswer, entry: Cached) -> None:
    """What a courier logs of a job that ended."""
    usage = entry.result.usage
    if log.isEnabledFor(logging.INFO):
        log.info(
            "cached answer",
            extra=fields(
                job=answer.recorded_id,
                run=entry.run,
                model=answer.model,
                caller=answer.caller,
                priority=answer.priority,
                cache=answer.cache,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
            ),
        )
