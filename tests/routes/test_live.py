"""A page that stays open learns what changed, and only what its key may read."""

from typing import Any

import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange, data
from tests.support.keys import ADMIN, KEYED, bearer, customer

JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("api.jobs.live", "api.routes.live"):
        monkeypatch.setattr(f"{module}.POLL_S", 0.01)


def watching(deployment: Deployment, query: str = "", **headers: str) -> Exchange:
    return Exchange(deployment.app, "GET", f"/v1/live{query}", headers=headers).start()


def told(exchange: Exchange, word: str) -> list[Any]:
    """What its events have under a name."""
    return [event[word] for event in data(exchange.body) if word in event]


async def begun(exchange: Exchange) -> None:
    await exchange.until(lambda seen: b": watching" in seen.body)


async def test_a_job_is_named_whenever_its_status_changes(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        reader = watching(deployment)
        await begun(reader)
        job = (await client.post("/v1/jobs", json=JOB)).json()["id"]
        await reader.until(lambda seen: told(seen, "changed") == [[job]])
        claim = deployment.worker.take()
        await reader.until(lambda seen: told(seen, "changed") == [[job]] * 2)
        deployment.worker.succeed(claim, "A cat.")
        await reader.until(lambda seen: told(seen, "changed") == [[job]] * 3)
        await client.delete(f"/v1/jobs/{job}")
        await reader.until(lambda seen: told(seen, "changed") == [[job]] * 4)
        reader.hang_up()
        await reader.finish()


async def test_an_operator_learns_how_each_model_stands(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        reader = watching(deployment)
        await begun(reader)
        await client.post("/v1/admin/models/sightline/tiny/pause")
        await reader.until(lambda seen: bool(told(seen, "models")))
        reader.hang_up()
        await reader.finish()

    (changed,) = told(reader, "models")
    assert changed == {
        "sightline/tiny": {
            "state": "no_worker",
            "paused": True,
            "draining": False,
            "waiting": 0,
            "running": 0,
            "workers": 0,
        }
    }


async def test_a_stream_lasts_as_long_as_it_is_asked_to(deployment: Deployment) -> None:
    reader = watching(deployment, "?seconds=0")
    await reader.finish()
    assert (reader.status, reader.complete, data(reader.body)) == (200, True, [])
    assert reader.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_a_process_that_ends_leaves_readers(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = watching(deployment)
    await begun(reader)
    monkeypatch.setattr("api.routes.live.stopping", lambda _: True)
    await reader.finish()
    assert reader.complete


@pytest.mark.parametrize("deployment", [KEYED], indirect=True, ids=["keyed"])
async def test_nobody_learns_of_another_s_jobs_or_unasked_of_models(deployment: Deployment) -> None:
    async with await customer(deployment.app, "one") as one, await customer(deployment.app, "other") as other:
        secret = {"authorization": other.headers["authorization"]}
        reader = watching(deployment, **secret)
        await begun(reader)
        await one.post("/v1/jobs", json=JOB)
        async with client_of(deployment.app) as operator:
            path = "/v1/admin/models/sightline/tiny/pause"
            assert (await operator.post(path, headers=bearer(ADMIN))).status_code == 204
        own = (await other.post("/v1/jobs", json=JOB)).json()["id"]
        await reader.until(lambda seen: bool(told(seen, "changed")))
        reader.hang_up()
        await reader.finish()

    assert (told(reader, "changed"), told(reader, "models")) == ([[own]], [])
