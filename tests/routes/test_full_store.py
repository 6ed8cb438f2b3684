"""A record store that one caller has nearly filled still takes the work of the others."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from shared.store import headroom
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.keys import KEYED, code_of, customer

LEFT = 2**18
"""Bytes that are free before the store is nearly full."""
LARGE, COUNT = 2 * LEFT // 3, 24


def job(prompt: str = "What is this?") -> dict[str, Any]:
    return {"model": "sightline/tiny", "input": {"prompt": prompt}}


@pytest.fixture(autouse=True)
def _no_limit_stays(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(headroom, "MEMORY_LIFE_S", 0.0)
    yield
    deployment.worker.store.client.config_set("maxmemory", 0)


async def fill(deployment: Deployment, client: httpx.AsyncClient) -> list[str]:
    """The store nearly fills with jobs that nothing computes: each leaves the line at once."""
    made = []
    for number in range(COUNT):
        reply = await client.post("/v1/jobs", json=job(f"{number} ".ljust(LARGE, "x")))
        made.append(reply.json()["id"])
        await client.post(f"/v1/jobs/{made[-1]}/cancel")
    server = deployment.worker.store.client
    used = int(server.info("memory")["used_memory"])
    server.config_set("maxmemory", int((used + LEFT) / deployment.worker.settings.redis.full_at))
    return made


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_a_caller_who_fills_the_records_leaves_room_to_others(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    deployment.worker.beat()
    async with await customer(deployment.app, "one") as one, await customer(deployment.app, "two") as two:
        made = await fill(deployment, one)
        refused = [await one.post("/v1/jobs", json=job()) for _ in range(2)]
        others = await two.post("/v1/jobs", json=job())
        for id in made:
            await one.delete(f"/v1/jobs/{id}")
        again = await one.post("/v1/jobs", json=job())
    assert [(reply.status_code, code_of(reply)) for reply in refused] == [(429, "caller_queue_full")] * 2
    for reply in refused:
        assert reply.headers["retry-after"] == "30"
    assert ["requests of one are refused" in line for line in caplog.messages].count(True) == 1
    assert [others.status_code, again.status_code] == [202, 202]


async def test_without_keys_one_caller_uses_all_of_the_records(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        await fill(deployment, client)
        assert (await client.post("/v1/jobs", json=job())).status_code == 202


async def test_an_answer_that_never_fits_is_refused_for_good(deployment: Deployment) -> None:
    deployment.worker.beat()
    server = deployment.worker.store.client
    used = int(server.info("memory")["used_memory"])
    server.config_set("maxmemory", int((used + LEFT) / deployment.worker.settings.redis.full_at))
    parameters = {"max_new_tokens": 256, "temperature": 1.0, "n": 8, "logprobs": True, "top_logprobs": 20}
    async with client_of(deployment.app) as client:
        reply = await client.post("/v1/jobs", json=job() | {"parameters": parameters})
    assert (reply.status_code, code_of(reply)) == (400, "invalid_request"), reply.text
    assert "fewer tokens" in reply.text
    assert "retry-after" not in reply.headers


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_who_fills_the_records_is_told_by_an_estimate_that_a_job_would_be_refused(
    deployment: Deployment,
) -> None:
    deployment.worker.beat()
    async with await customer(deployment.app, "one") as one:
        await fill(deployment, one)
        foretold = await one.post("/v1/estimate", json=job())
        refused = await one.post("/v1/jobs", json=job())
    told = foretold.json()
    assert (foretold.status_code, told["outcome"]) == (200, "refused")
    assert (told["refusal"]["status"], told["refusal"]["code"]) == (refused.status_code, code_of(refused))
