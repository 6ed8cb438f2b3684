"""Serves what a process counts, at an address of its own."""

import logging
from collections.abc import Collection

from prometheus_client import start_http_server

from shared.metrics.metric_types import REGISTRY, begin
from shared.settings import MOST_PORT, MetricsSettings

log = logging.getLogger("shared.metrics")
PORTS = 100
"""Processes of one machine that may be served."""


def serve(settings: MetricsSettings, models: Collection[str] = ()) -> None:
    """At the first free port from the one that the settings name; goes on without where there is none."""
    begin(models)
    host, _, first = settings.listen.rpartition(":")
    reason: str | None = None
    for port in range(int(first), min(int(first) + PORTS, MOST_PORT + 1)):
        try:
            start_http_server(port, host.strip("[]"), REGISTRY)
        except OSError as error:
            reason = error.strerror
        else:
            return
    log.warning("metrics are not served at %s: %s", settings.listen, reason)
