"""Starts telling what a process counts: to the record store, and at an address of its own."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app, start_http_server
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
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
    """Tell the store from now on, and serve the metrics at the address that the settings name."""
    tally = Tally(store)
    tally.start()
    if settings.listen is not None:
        _listen(settings.listen)
    return tally


def understood(accepted: str) -> str:
    """An `Accept` header that prometheus_client can read; "" for one whose `version` it would fail on.

    The library knows no quotes (RFC 9110, section 5.6.6), and compares the version's parts as numbers.
    """
    bare = accepted.replace('"', "")
    try:
        choose_encoder(bare)
    except TypeError:
        return ""
    return bare


def _listen(address: str) -> None:
    """Goes on without where another process of this machine has the port."""
    host, _, port = address.rpartition(":")
    registry = CollectorRegistry()
    registry.register(Own())
    try:
        server, _ = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        log.warning("metrics are not told at %s: %s", address, error.strerror)
        return
    page = make_wsgi_app(registry)

    def lenient(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        accepted = understood(environ.get("HTTP_ACCEPT", ""))
        return page({**environ, "HTTP_ACCEPT": accepted}, start)

    server.set_app(lenient)
