"""A real Prometheus reads a service at work: its rules and the board's every question are answered.

Needs prometheus (Debian: `apt install prometheus`).
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.conftest import ECHO, SLOW
from tests.support.clients import PATIENCE_S, Api, until
from tests.support.metrics import ALERTS, first_values, shown, total
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.service import Service

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="there is no Prometheus on this machine")
RUN = "sightline_attempts_total"


@pytest.fixture
def prometheus(service: Service, tmp_path: Path) -> Iterator[httpx.Client]:
    """It scrapes one API process every few seconds, with the rules of the example."""
    config = yaml.safe_load((ALERTS.parent / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "3s", "scrape_timeout": "3s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ALERTS)]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [service.url().removeprefix("http://")]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    argv = (
        str(PROMETHEUS),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    )
    process = Process(argv, {}, tmp_path / "log")
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


@needs_prometheus
def test_prometheus_gets_an_answer_to_all_that_the_board_and_the_alerts_ask(
    prometheus: httpx.Client, api: Api
) -> None:
    job = api.submit(model=ECHO, input={"prompt": "How are you today?"}, priority="interactive")
    api.ended(job)
    scraped(prometheus, f'{RUN}{{model="{ECHO}", outcome="succeeded"}} > 0')

    answers = {expression: asked(prometheus, expression) for expression in shown()}
    rules = [rule for group in prometheus.get("/rules").json()["data"]["groups"] for rule in group["rules"]]

    assert answers.keys() == set(shown())
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    # A reading that failed leaves a gap behind, and there is another one soon.
    assert scraped(prometheus, f'sightline_workers{{model="{ECHO}", state="ready"}}') == [1]


def test_a_total_does_not_fall_when_a_worker_dies_and_both_apis_tell_the_same(
    service: Service, api: Api
) -> None:
    def told(of: str = "api") -> float:
        return total(httpx.get(f"{service.url(of)}/metrics").text, RUN, model=SLOW, outcome="succeeded")

    before = told()
    api.ended(api.submit(model=SLOW, input={"prompt": "one"}))
    after = until(lambda: (seen := told()) > before and seen)
    service.kill(SLOW)
    assert told() >= after
    service.ready(SLOW)
    api.ended(api.submit(model=SLOW, input={"prompt": "two"}))

    assert until(lambda: (seen := told("api-2")) > after and seen) >= after + 1
    # Each reads at a moment of its own: what was counted between them has been told soon.
    until(lambda: told("api") == told("api-2"))
