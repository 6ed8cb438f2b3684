"""A real Prometheus reads a service at work: its rules and the board's every question are answered.

Needs prometheus (Debian: `apt install prometheus`).
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import ECHO, SLOW
from tests.support.clients import Api, until
from tests.support.metrics import shown, total
from tests.support.prometheus import asked, needs_prometheus, prometheus, scraped
from tests.support.service import Service

RUN = "sightline_attempts_total"


@pytest.fixture
def reading(service: Service, tmp_path: Path) -> Iterator[httpx.Client]:
    with prometheus(tmp_path, service.url(), every_s=1) as client:
        yield client


@needs_prometheus
def test_prometheus_gets_an_answer_to_all_that_the_board_and_the_alerts_ask(
    reading: httpx.Client, api: Api
) -> None:
    job = api.submit(model=ECHO, input={"prompt": "How are you today?"}, priority="interactive")
    api.ended(job)
    scraped(reading, f'{RUN}{{model="{ECHO}", outcome="succeeded"}} > 0')

    answers = {expression: asked(reading, expression) for expression in shown()}
    rules = [rule for group in reading.get("/rules").json()["data"]["groups"] for rule in group["rules"]]

    assert answers.keys() == set(shown())
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    # A reading that failed leaves a gap behind, and there is another one soon.
    assert scraped(reading, f'sightline_workers{{model="{ECHO}", state="ready"}}') == [1]


def test_a_total_does_not_fall_when_a_worker_dies_and_both_apis_tell_the_same(
    service: Service, api: Api
) -> None:
    def told(of: str = "api") -> float:
        page = service.caller.get(f"{service.url(of)}/metrics").text
        return total(page, RUN, model=SLOW, outcome="succeeded")

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
