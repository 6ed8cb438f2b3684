"""Answers from the cache for callers who ask for nothing more: read from the store, and no job is made."""

import logging
from contextlib import suppress
from typing import Any

from shared import ids
from shared.errors import Unavailable
from shared.job import Computed, Event, JobView
from shared.metrics.api_counters import ADMITTED
from shared.settings import Settings
from shared.store.admission import Cached, Placing, cached, keep_answer
from shared.store.script import AsyncStore
from shared.telemetry import traces
from shared.telemetry.logs import fields
from shared.value_object import value_object

log = logging.getLogger("api.admission")
LEAST_LEFT = 0.9
"""An answer with a smaller part of its life left is kept for all of it again."""


@value_object
class CachedAnswer(JobView):
    """An answer from the cache for which no job was made: nobody else knows its id.

    `texts` are the data of the `text` events, empty where they were not asked for.
    """

    texts: tuple[dict[str, Any], ...] = ()

    @property
    def recorded_id(self) -> str | None:
        """That of its caller's own job that computed it, if any."""
        return self.computed.job if self.computed else None

    @property
    def events(self) -> list[Event]:
        texts = [Event(at, "text", data, self.created_ms) for at, data in enumerate(self.texts, 1)]
        return [*texts, Event(len(texts) + 1, self.status, {}, self.created_ms)]


class CachedAnswers:
    def __init__(self, settings: Settings, store: AsyncStore) -> None:
        self._settings = settings
        self._store = store

    async def find(self, placing: Placing, *, texts: bool, retain_s: int | None) -> CachedAnswer | None:
        """The answer with the `texts` of its events or without; it is kept for `retain_s` from now on, or
        (None) as long as the settings keep results. Raises Unavailable.
        """
        entry = await self._store.run(cached(placing, self._settings, texts=texts))
        if entry is None:
            return None
        await self._keep(entry, retain_s)
        answer = _view(placing, entry)
        ADMITTED.labels(answer.model, answer.priority, "hit").inc()
        trace(answer, entry.trace)
        _log(answer, entry)
        return answer

    async def _keep(self, entry: Cached, retain_s: int | None) -> None:
        life_s = retain_s or self._settings.retention.result_s
        if entry.left_ms < LEAST_LEFT * life_s * 1000:
            # A store that takes no writes can still be read.
            with suppress(Unavailable):
                await self._store.run(keep_answer(self._settings, entry.run, retain_s))


def _view(placing: Placing, entry: Cached) -> CachedAnswer:
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
