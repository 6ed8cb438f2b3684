"""The page `/metrics`: what this process counts, and gauges that the record store knows at the moment."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import suppress

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from shared import ids
from shared.errors import CODES, Unavailable
from shared.metrics import gauges
from shared.metrics.api_counters import REFUSALS
from shared.metrics.gauges import Server
from shared.metrics.metric_types import REGISTRY, begin
from shared.models import Models
from shared.settings import Settings
from shared.store.headroom import Headroom, memory, writable
from shared.store.keys import INTAKE
from shared.store.metrics import refuse, round_trip_s
from shared.store.script import AsyncStore
from shared.store.workers import fleet

log = logging.getLogger("api")
KEPT_S = 1.0
"""A second scrape within this time gets the same gauges."""
READ_WITHIN_S = 2.0
"""A record store that takes longer counts as down: a scraper that gives up first would learn nothing."""
TELL_S = 3.0
"""Between two messages of what was refused: several in each step of the charts."""
OVERLOAD = frozenset(code for code, about in CODES.items() if about.status in (429, 503))


def overload() -> dict[str, float]:
    """How often this process refused a request because the service could not take it then, by code."""
    (family,) = REFUSALS.collect()
    return {
        code: one.value for one in family.samples if (code := one.labels["code"]) in OVERLOAD and one.value
    }


class MetricsPage(Collector):
    """Gauges that were read already, and all that this process counts."""

    def __init__(self, gauges: list[Metric]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges
        yield from REGISTRY.collect()


class Metrics:
    """Reads the metrics for one API process, and tells the record store what it refuses."""

    def __init__(self, settings: Settings, models: Models, store: AsyncStore, headroom: Headroom) -> None:
        self._settings = settings
        self._headroom = headroom
        self._models = models
        self._store = store
        self._reading = asyncio.Lock()
        self._read_at = -KEPT_S
        self._gauges: list[Metric] = []
        self._telling: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._telling = asyncio.create_task(self._tell(), name="refusals")

    async def aclose(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            with suppress(asyncio.CancelledError):
                await self._telling

    async def page(self) -> bytes:
        async with self._reading:
            if time.monotonic() - self._read_at >= KEPT_S:
                self._gauges = await self._read()
                self._read_at = time.monotonic()
        # With ten models it takes a tenth of a second, which would hold up all other requests.
        return await asyncio.to_thread(generate_latest, MetricsPage(self._gauges))

    async def _read(self) -> list[Metric]:
        models = [model.id for model in self._models.rows]
        begin(models)
        lanes = [*(model.lane for model in self._models.rows), INTAKE]
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                # Not at the same time as the calls: that would need a connection of its own.
                took_s = await round_trip_s(self._store)
                await self._store.run(writable(self._settings))
                seen, held, charges = await asyncio.gather(
                    self._store.run(fleet(self._settings, lanes)),
                    self._store.run(memory()),
                    self._headroom.charges(),
                )
        except (Unavailable, TimeoutError):
            return list(gauges.store_down())
        charged = max(0, charges.total - held.promised)
        server = Server(held.used, held.promised, held.limit, held.evicts, took_s, charged, held.bad)
        return list(gauges.families(models, seen[:-1], seen[-1], server))

    async def _tell(self) -> None:
        told, message = overload(), ids.token()
        while True:
            await asyncio.sleep(TELL_S)
            now = overload()
            risen = {code: rise for code, count in now.items() if (rise := count - told.get(code, 0))}
            try:
                if risen:
                    # Under the same name until it is taken: one whose answer was lost counts once.
                    await self._store.run(refuse(message, risen))
                    told, message = now, ids.token()
            except Unavailable:
                continue
            except Exception:
                # The outermost frame of a round: the page lacks these, and the next ones are told.
                log.exception("refusals could not be told")
