"""What an operator's Prometheus reads: what is true, no word of a caller, and to nobody else."""

import asyncio
import signal
import threading
from collections import Counter
from typing import Any

import openai
import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from shared.api_keys import new_secret
from shared.errors import CODES
from shared.store.keys import INTAKE
from shared.store.metrics import sample, series
from shared.store.workers import State, beat
from tests.routes.conftest import Deployment
from tests.routes.test_authentication import JOB, peer_of
from tests.support.app import client_of
from tests.support.batches import begun, ended, line, serving
from tests.support.clients import until_async
from tests.support.keys import ADMIN, KEYED, bearer, code_of, made
from tests.support.metrics import labels_of, total
from tests.support.redis_server import RedisServer

TOKEN = "prometheus-token-0123456789-abcdefghij"
SCRAPED = {"metrics": {"token": TOKEN}}
MODEL = "sightline/tiny"
DEPTH, HTTP = "sightline_queue_depth", "sightline_http_requests_total"
FAILED = "sightline_model_failed"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Is anybody there?"}]}
SCRAPE_S = 10
"""How long Prometheus waits for a page, where its configuration does not say."""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused is told without a pause, and gauges are read anew each time."""
    monkeypatch.setattr("api.metrics.TELL_S", 0.02)
    monkeypatch.setattr("api.metrics.KEPT_S", 0.0)
    # A machine that stands still for a while is no store that is away.
    monkeypatch.setattr("api.metrics.READ_WITHIN_S", 60.0)


async def read(app: Any) -> str:
    async with client_of(app) as client:
        reply = await client.get("/metrics")
    assert reply.status_code == 200
    return reply.text


def gauges_of(page: str) -> dict[str, float]:
    """Of what the store knows."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if family.type == "gauge" and sample.name.startswith("sightline_")
    }


@pytest.fixture
def earlier(_server: RedisServer) -> set[str]:
    """Connections that earlier tests have not closed yet, and the one that empties the store."""
    _server.empty()
    with Redis(port=_server.port) as client:
        return {one["id"] for one in client.client_list()}


async def test_a_process_holds_few_connections_whatever_it_does(
    earlier: set[str], deployment: Deployment
) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        for _ in range(8):
            await client.post("/v1/jobs", json=JOB)
    await read(deployment.app)

    async def look() -> bool:
        # Calls, nudges and wake-ups; a fourth where the page was read beside a call; one is the test's own.
        held = deployment.worker.store.client.client_list()
        return 3 + 1 <= len([one for one in held if one["id"] not in earlier]) <= 3 + 1 + 1

    assert await until_async(look)


async def test_what_waits_and_runs_is_seen_by_model_and_class(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        for priority in ("batch", "normal", "interactive"):
            body = {"model": MODEL, "input": {"prompt": priority}, "priority": priority}
            assert (await client.post("/v1/jobs", json=body)).status_code == 202
    deployment.worker.take()
    page = await read(deployment.app)

    assert {name: total(page, DEPTH, **{"class": name}) for name in ("interactive", "normal", "batch")} == {
        "interactive": 0,
        "normal": 1,
        "batch": 1,
    }
    assert total(page, "sightline_backlog", model=MODEL) == 3
    assert total(page, "sightline_running", model=MODEL) == 1
    assert total(page, "sightline_store_memory_promised_bytes") > 3 * 2**10
    assert total(page, "sightline_workers", model=MODEL, state="ready") == 1
    assert total(page, "sightline_workers", model="org/bare") == 0
    assert 0 < total(page, "sightline_store_round_trip_seconds") < total(page, "sightline_store_memory_bytes")


async def test_a_model_that_no_load_brings_up_stays_failed_while_it_is_tried_again(
    deployment: Deployment,
) -> None:
    async def failed() -> float:
        return total(await read(deployment.app), FAILED, model=MODEL)

    deployment.worker.beat("loading", load_passed_ms="0")
    first = await failed()
    deployment.worker.beat("gone", failed="broken weights")
    between = await failed()
    deployment.worker.beat("loading", load_passed_ms="0")
    again = await failed()
    deployment.worker.beat("ready", failed="")

    assert (first, between, again, await failed()) == (0, 1, 1, 0)


async def test_nobody_pays_for_workers_of_a_model_that_is_paused(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        for prompt in ("runs", "waits"):
            await client.post("/v1/jobs", json={"model": MODEL, "input": {"prompt": prompt}})
        claim = deployment.worker.take()
        assert (await client.post(f"/v1/admin/models/{MODEL}/pause")).is_success
        running, (row, _) = await read(deployment.app), (await client.get("/v1/admin/fleet")).json()["models"]
        deployment.worker.succeed(claim, "A cat.")
        (rests, _) = (await client.get("/v1/admin/fleet")).json()["models"]
        await client.post(f"/v1/admin/models/{MODEL}/resume")
        (goes_on, _) = (await client.get("/v1/admin/fleet")).json()["models"]

    assert total(running, "sightline_backlog", model=MODEL) == row["backlog"] == 1, "it is needed still"
    assert total(running, DEPTH) == 1
    assert (rests["backlog"], goes_on["backlog"]) == (0, 1)


async def test_operators_see_whether_couriers_live_and_what_waits_for_them(deployment: Deployment) -> None:
    picture = {"prompt": "a", "image": "https://example.org/a.png"}
    async with client_of(deployment.app) as client:
        assert (await client.post("/v1/jobs", json={"model": MODEL, "input": picture})).status_code == 202

        async def couriers(state: State) -> Any:
            record = {"host": "here"}
            call = beat(
                deployment.worker.settings,
                worker="worker_courier",
                lane=INTAKE,
                state=state,
                facts={},
                record=record,
            )
            deployment.worker.store.run(call)
            return (await client.get("/v1/admin/fleet")).json()["couriers"]

        alive, gone = await couriers("ready"), await couriers("gone")

    assert [(worker["id"], worker["host"]) for worker in alive["workers"]] == [("worker_courier", "here")]
    assert (gone["workers"], gone["last_worker"]["host"], gone["queued"]) == ([], "here", 1)
    assert gone["webhook_calls"] == {"due": 0, "later": 0, "under_way": 0}


async def test_how_jobs_came_in_is_counted(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        for _ in range(2):
            await client.post("/v1/jobs", json=JOB)
        once = {**JOB, "input": {"prompt": "Once?"}}
        for _ in range(2):
            await client.post("/v1/jobs", json=once, headers={"idempotency-key": "one"})
        twice = {**JOB, "input": {"prompt": "At the same moment?"}}
        await asyncio.gather(
            *(client.post("/v1/jobs", json=twice, headers={"idempotency-key": "two"}) for _ in range(6))
        )
    page = await read(deployment.app)

    seen = {
        cache: total(page, "sightline_jobs_admitted_total", cache=cache) for cache in ("miss", "coalesced")
    }
    assert seen == {"miss": 3, "coalesced": 1}


async def test_requests_are_counted_by_their_route_and_refusals_by_their_code(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        await client.get("/v1/jobs/job_none")
        await client.get(f"/models/{MODEL}")
        await client.get("/nowhere/to/be/found")
    page = await read(deployment.app)

    assert total(page, HTTP, route="/v1/jobs/{id}", method="GET", status="404") == 1
    assert total(page, HTTP, route="other", method="GET", status="404") == 1
    assert total(page, "sightline_refusals_total", code="job_not_found") == 1
    assert total(page, "sightline_refusals_total", code="not_found") == 1
    assert total(page, "sightline_http_request_seconds_count", route="/v1/jobs/{id}") == 1


async def test_no_word_of_a_caller_becomes_a_label(deployment: Deployment) -> None:
    odd = "zq7"
    async with client_of(deployment.app) as client:
        await client.request(odd.upper(), "/v1/jobs")
        await client.get(f"/{odd}", headers={"authorization": f"Bearer {odd}"})
        await client.post("/v1/chat/completions", json={"model": odd, "messages": []})
        await client.post(f"/models/{odd}", json={"inputs": odd})
        await client.post("/v1/jobs", json={**JOB, "metadata": {odd: odd}, "priority": odd})
    page = await read(deployment.app)

    assert total(page, HTTP, method="other") == 1
    assert odd not in page.lower()
    admitted = labels_of(page, "sightline_jobs_admitted_total")
    assert {labels["model"] for labels in admitted} == {MODEL, "org/bare"}


async def test_methods_that_a_route_does_not_have_share_one_series(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        for method in ("DELETE", "PATCH", "PUT", "TRACE"):
            assert (await client.request(method, "/ready")).status_code == 405
    page = await read(deployment.app)

    assert {labels["method"] for labels in labels_of(page, HTTP) if labels["route"] == "/ready"} == {"other"}


async def test_a_reading_of_many_series_holds_up_no_other_request(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def collect(_: object) -> list[Metric]:
        threads.append(threading.current_thread())
        return []

    monkeypatch.setattr("api.metrics.MetricsPage.collect", collect)
    await read(deployment.app)
    assert threads
    assert threading.main_thread() not in threads


async def test_a_first_refusal_is_a_rise_from_0_and_not_from_nothing(deployment: Deployment) -> None:
    page = await read(deployment.app)
    codes = {labels["code"] for labels in labels_of(page, "sightline_refusals_total")}
    assert (codes, total(page, "sightline_refusals_total")) == (set(CODES), 0)


async def test_requests_that_the_service_could_not_take_are_told_the_store(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        for _ in range(2):
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 503
        await client.get("/nowhere/to/be/found")

    counts: Counter[str] = Counter()

    async def told() -> bool:
        # Each sample has what was told since the one before.
        deployment.worker.store.client.delete("sl9:samples")
        deployment.worker.store.run(sample(deployment.worker.settings))
        _, (one,) = deployment.worker.store.run(series())
        counts.update(one.refusals)
        return counts == {"no_worker": 2}

    await until_async(told)


async def test_a_scraper_gets_text_whatever_it_accepts(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        accept = "application/openmetrics-text; version=1.x, */*"
        reply = await client.get("/metrics", headers={"accept": accept})
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_while_the_store_is_away_that_is_what_is_told(deployment: Deployment) -> None:
    deployment.server.kill()
    try:
        page = await read(deployment.app)
    finally:
        deployment.server.start()
    assert gauges_of(page) == {"sightline_store_up": 0}


async def test_a_store_that_takes_no_writes_is_told_as_one_that_is_away(deployment: Deployment) -> None:
    with deployment.server.refusing_writes():
        page = await read(deployment.app)
    assert gauges_of(page) == {"sightline_store_up": 0}


async def test_a_store_that_hangs_is_told_before_a_scraper_gives_up(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.metrics.READ_WITHIN_S", 0.05)
    deployment.server.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(SCRAPE_S):
            page = await read(deployment.app)
    finally:
        deployment.server.process.send_signal(signal.SIGCONT)
    assert gauges_of(page) == {"sightline_store_up": 0}


@pytest.mark.parametrize("deployment", [KEYED | SCRAPED], indirect=True)
async def test_with_keys_operators_and_the_scraper_read_it_and_customers_do_not(
    deployment: Deployment,
) -> None:
    customer = (await made(deployment.app, "one"))["secret"]
    async with client_of(deployment.app) as client:

        async def status(secret: str) -> int:
            return (await client.get("/metrics", headers=bearer(secret))).status_code

        assert (await client.get("/metrics")).status_code == 401
        assert [await status(s) for s in (ADMIN, TOKEN, customer, new_secret())] == [200, 200, 403, 401]
        others = [await client.get(path, headers=bearer(TOKEN)) for path in ("/v1/jobs", "/v1/admin/fleet")]
    assert [code_of(reply) for reply in others] == ["invalid_api_key", "invalid_api_key"]


@pytest.mark.parametrize("deployment", [SCRAPED], indirect=True)
async def test_without_keys_another_machine_needs_the_scraper_s_token(deployment: Deployment) -> None:
    async with peer_of(deployment.app, "10.0.0.7") as far:
        replies = [
            await far.get("/metrics"),
            await far.get("/metrics", headers=bearer(TOKEN)),
            await far.get("/v1/jobs", headers=bearer(TOKEN)),
        ]
    assert [reply.status_code for reply in replies] == [403, 200, 403]


@pytest.mark.usefixtures("quick_batches")
async def test_the_lines_of_a_batch_are_counted_as_they_come_and_go(
    deployment: Deployment, client: openai.AsyncOpenAI
) -> None:
    async with serving(deployment.worker):
        await ended(client, await begun(client, [line("good"), line("bad", temperature="hot")]))
    name = "sightline_batch_lines_total"
    page = await read(deployment.app)

    outcomes = ("taken", "refused", "completed", "failed")
    assert [total(page, name, outcome=outcome) for outcome in outcomes] == [1, 1, 1, 1]
