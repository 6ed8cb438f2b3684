"""Reports what a process counts: to the record store, and at an address of its own.

The store keeps one sum of all processes, so that a total never falls when one of them leaves. A killed
process loses what it counted since its last report."""

import logging
import threading
from collections.abc import Iterable, Iterator
from itertools import chain

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from pydantic_core import to_json

from shared import ids
from shared.errors import Unavailable
from shared.metrics.definitions import COUNTED, REGISTRY
from shared.settings import MetricsSettings
from shared.store.metrics import MOST, count
from shared.store.script import LoopStore, Store

log = logging.getLogger("shared.metrics")
PAUSE_S = 2.0
"""Between two reports: less than any scraper's pause, and half a millisecond of the store's time."""
LEAVE_S = 2.0
"""How long a stopping process tries to report what it counted last."""


class CounterDeltas:
    """Remembers what was read last. Counts from before it was made are not reported."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self.fresh()

    def fresh(self) -> list[tuple[str, float]]:
        """How much each series has risen, by its name in the store. Buckets are not cumulative."""
        risen: list[tuple[str, float]] = []
        for family, metric in list(COUNTED.items()):
            for name, value in _series(family, metric):
                if rise := value - self._values.get(name, 0.0):
                    self._values[name] = value
                    risen.append((name, rise))
        return risen


def _series(family: str, metric: Counter | Histogram) -> Iterator[tuple[str, float]]:
    """A counter's totals, or a histogram's buckets (named by their upper ends) and sums, by name."""
    below = 0.0
    for sample in chain.from_iterable(collected.samples for collected in metric.collect()):
        labels = dict(sample.labels)
        part, value = sample.name.removeprefix(f"{family}_"), sample.value
        if part == "bucket":
            part = labels.pop("le")
            value, below = value - below, 0.0 if part == "+Inf" else value
        if part not in ("count", "created"):
            yield to_json([family, part, *labels.values()]).decode(), value


class CountReporter:
    """One process's counts on their way to the store. What could not be reported is reported later."""

    def __init__(self, store: Store | LoopStore) -> None:
        self._store = store
        self._process = ids.token()
        self._number = 0
        self._deltas = CounterDeltas()
        self._unreported: list[tuple[str, float]] = []
        self._full = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Report what was counted up to now, where the store is in reach."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(LEAVE_S)

    def report(self) -> None:
        """Raises Unavailable: then the same counts are reported again, and still added once."""
        if not self._unreported:
            self._unreported, self._number = self._deltas.fresh(), self._number + 1
        if self._unreported:
            reply = self._store.run(count(self._process, self._number, self._unreported))
            self._unreported = []
            if reply == "full" and not self._full:
                self._full = True
                log.warning("the record store keeps at most %d series of counts: new ones are lost", MOST)

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stopping.wait(PAUSE_S)
            try:
                self.report()
            except Unavailable as error:
                log.info("counts are reported later: %s", error.message)
            except Exception:
                # The outermost frame of this thread: the process works on, even if its counts are lost.
                log.exception("counts could not be reported")


class ProcessMetrics(Collector):
    """What this process counted, and its processor time, memory and open files."""

    def __init__(self) -> None:
        self._process = ProcessCollector(registry=None)

    def collect(self) -> Iterable[Metric]:
        yield from REGISTRY.collect()
        yield from self._process.collect()


def start_reporting(settings: MetricsSettings, store: Store | LoopStore) -> CountReporter:
    """Report to the store from now on, and serve the metrics at the address that the settings name."""
    reporter = CountReporter(store)
    reporter.start()
    if settings.listen is not None:
        _listen(settings.listen)
    return reporter


def _listen(address: str) -> None:
    """Goes on without where another process of this machine has the port."""
    host, _, port = address.rpartition(":")
    registry = CollectorRegistry()
    registry.register(ProcessMetrics())
    try:
        start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        log.warning("metrics are not served at %s: %s", address, error.strerror)
