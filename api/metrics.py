"""The page `/metrics`: totals of all processes, and gauges that the record store knows at the moment."""

import asyncio
import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from shared.errors import Unavailable
from shared.metrics import gauges, totals
from shared.metrics.gauges import Server
from shared.metrics.reporter import CountReporter
from shared.models import Models
from shared.settings import Settings
from shared.store.headroom import Headroom, memory, writable
from shared.store.keys import INTAKE
from shared.store.metrics import counts, round_trip_s
from shared.store.script import AsyncStore
from shared.store.workers import fleet

KEPT_S = 1.0
"""A second scrape within this time gets the same numbers."""
READ_WITHIN_S = 2.0
"""A record store that takes longer counts as down: a scraper that gives up first would learn nothing."""


class StaticCollector(Collector):
    """Metrics that were read already."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


class Metrics:
    """Reads the metrics for one API process; every process of an installation gives the same."""

    def __init__(
        self, settings: Settings, models: Models, store: AsyncStore, tally: CountReporter, headroom: Headroom
    ) -> None:
        self._settings = settings
        self._headroom = headroom
        self._models = models
        self._store = store
        self._tally = tally
        self._reading = asyncio.Lock()
        self._read_at = -KEPT_S
        self._metrics: list[Metric] = []

    async def aclose(self) -> None:
        """Send the last counts of this process to the record store."""
        await asyncio.to_thread(self._tally.stop)

    async def page(self, accepted: str) -> tuple[bytes, str]:
        """The text in the form that the caller accepts, and the form's name."""
        async with self._reading:
            if time.monotonic() - self._read_at >= KEPT_S:
                self._metrics = await self._read()
                self._read_at = time.monotonic()
        registry = CollectorRegistry()
        registry.register(StaticCollector(self._metrics))
        encode, name = choose_encoder(_readable_accept(accepted))
        # With ten models it takes a tenth of a second, which would hold up all other requests.
        return await asyncio.to_thread(encode, registry), name

    async def _read(self) -> list[Metric]:
        models = [model.id for model in self._models.rows]
        lanes = [*(model.lane for model in self._models.rows), INTAKE]
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                # Not at the same time as the calls: that would need a connection of its own.
                took_s = await round_trip_s(self._store)
                await self._store.run(writable(self._settings))
                seen, sums, held, charges = await asyncio.gather(
                    self._store.run(fleet(self._settings, lanes)),
                    self._store.run(counts()),
                    self._store.run(memory()),
                    self._headroom.charges(),
                )
        except (Unavailable, TimeoutError):
            return list(gauges.store_down())
        charged = max(0, charges.total - held.promised)
        server = Server(held.used, held.promised, held.limit, held.evicts, took_s, charged, held.bad)
        now = gauges.families(models, seen[:-1], seen[-1], server)
        return [*now, *await asyncio.to_thread(_totals, sums, models)]


def _totals(sums: Mapping[str, float], models: list[str]) -> list[Metric]:
    return list(totals.families(sums, models))


def _readable_accept(accepted: str) -> str:
    """An `Accept` header that prometheus_client can read; "" for one whose `version` it would fail on.

    The library knows no quotes (RFC 9110, section 5.6.6), and compares the version's parts as numbers.
    """
    bare = accepted.replace('"', "")
    try:
        choose_encoder(bare)
    except TypeError:
        return ""
    return bare
