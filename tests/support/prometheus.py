"""A real Prometheus that reads an API process, and the workers here (Debian: `apt install prometheus`)."""

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from docs.generate.board import named
from docs.generate.charts import Series
from shared.metrics.metric_types import PORTS
from shared.settings import MetricsSettings
from tests.support.clients import until
from tests.support.metrics import ALERTS, first_values
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from tests.support.processes import Process

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="there is no Prometheus on this machine")


@contextmanager
def prometheus(folder: Path, service: str, *, every_s: int) -> Iterator[httpx.Client]:
    """A client of its API. It scrapes the service at this URL, with the rules of the example."""
    config = yaml.safe_load((ALERTS.parent / "prometheus.yml").read_text(encoding="utf-8"))
    pauses = {"scrape_interval": f"{every_s}s", "scrape_timeout": f"{every_s}s", "evaluation_interval": "1s"}
    config["global"] = pauses
    config["rule_files"] = [str(ALERTS)]
    apis, workers = (job["static_configs"][0] for job in config["scrape_configs"])
    apis["targets"] = [service.removeprefix("http://")]
    host, first = MetricsSettings().listen.split(":")
    workers["targets"] = [f"{host}:{port}" for port in range(int(first), int(first) + PORTS)]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    argv = (
        str(PROMETHEUS),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    )
    process = Process(argv, {}, folder / "log")
    process.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=PATIENCE_S) as client:
            yield client
    finally:
        process.end()


def asked(client: httpx.Client, expression: str) -> list[float]:
    return first_values(client.get("/query", params={"query": expression}).json())


def scraped(client: httpx.Client, expression: str) -> list[float]:
    """The answer, once there is one."""

    def look() -> list[float]:
        try:
            return asked(client, expression)
        except (httpx.TransportError, ValueError):
            # Not there yet, or it says in plain text that it is about to be.
            return []

    return until(look)


def course(client: httpx.Client, expression: str, legend: str, moments: Sequence[float]) -> list[Series]:
    """The answer at each of these moments, which are equally far apart; what is no number is left out."""
    step = moments[1] - moments[0]
    span = {"start": moments[0], "end": moments[-1], "step": step}
    reply = client.get("/query_range", params={"query": expression, **span}).json()
    assert reply["status"] == "success", reply
    return [
        Series(
            named(legend, one["metric"]),
            {at: float(value) for at, value in one["values"] if math.isfinite(float(value))},
        )
        for one in reply["data"]["result"]
    ]
