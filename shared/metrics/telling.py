"""How a process begins to tell what it counts."""

import logging
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from shared.metrics.declared import REGISTRY
from shared.metrics.tally import Tally
from shared.settings.metrics import MetricsSettings
from shared.store.script import Runs

log = logging.getLogger(__name__)


class Own(Collector):
    """What this process counted, and its processor time, memory and open files."""

    def __init__(self) -> None:
        self._process = ProcessCollector(registry=None)

    def collect(self) -> Iterable[Metric]:
        yield from REGISTRY.collect()
        yield from self._process.collect()


def start_telling(settings: MetricsSettings, store: Runs) -> Tally:
    """Tell the store from now on, and whoever asks at the address that the settings name."""
    tally = Tally(store)
    tally.start()
    if settings.listen is not None:
        _listen(settings.listen)
    return tally


def _listen(address: str) -> None:
    """A port that is taken ends nobody's work: another process of this machine has it."""
    host, _, port = address.rpartition(":")
    registry = CollectorRegistry()
    registry.register(Own())
    try:
        start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        log.warning("metrics are not told at %s: %s", address, error.strerror)
