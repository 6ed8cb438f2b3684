"""Models come and go while the service runs: callers, batches and other processes are told."""

import asyncio
from typing import Any

import httpx
import openai
import pytest
from asgi_lifespan import LifespanManager

from api.app import create_app
from shared.models import Model
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.batches import begun, content, ended, line
from tests.support.clients import until_async
from tests.support.scripted_worker import ScriptedWorker
from worker.maintenance.passes import ModelRemoval

MODEL, NEW = "sightline/tiny", "org/new"
ADMIN = "/v1/admin/models"
ROW = {"id": NEW, "engine": "echo"}
QUESTION = {"prompt": "What?"}


async def submitted(client: httpx.AsyncClient, model: str = MODEL, **body: Any) -> httpx.Response:
    return await client.post("/v1/jobs", json={"model": model, "input": QUESTION, **body})


async def ids(client: httpx.AsyncClient) -> list[str]:
    return [row["id"] for row in (await client.get("/v1/models")).json()["data"]]


async def test_an_added_model_is_served_by_every_process_without_a_restart(deployment: Deployment) -> None:
    async with (
        client_of(deployment.app) as client,
        LifespanManager(create_app(deployment.worker.settings)) as second,
        client_of(second.app) as other,
    ):
        assert (await submitted(other, NEW)).status_code == 404
        added = await client.post(ADMIN, json=ROW)
        assert (added.status_code, added.json()["id"]) == (201, NEW)

        async def known() -> bool:
            return NEW in await ids(other)

        await until_async(known)
        job = (await submitted(other, NEW)).json()["id"]
        worker = ScriptedWorker(
            deployment.worker.settings, deployment.worker.store, Model(id=NEW, engine="echo")
        )
        worker.beat()
        worker.succeed(worker.take(), "A cat.")
        assert (await client.get(f"/v1/jobs/{job}")).json()["status"] == "succeeded"
    async with (
        LifespanManager(create_app(deployment.worker.settings)) as started_later,
        client_of(started_later.app) as client,
    ):
        assert await ids(client) == [MODEL, "org/bare", NEW]


@pytest.mark.parametrize(
    ("row", "status", "code", "param"),
    [
        ({"id": NEW}, 400, "invalid_request", "source"),
        ({"id": "Sightline/Tiny", "engine": "echo"}, 409, "model_exists", "id"),
        (ROW | {"trust_remote_code": True}, 400, "unsupported_parameter", "trust_remote_code"),
        (ROW | {"rows": 0}, 400, "invalid_request", "rows"),
        ({"id": "a/v1/b"}, 400, "invalid_request", "id"),
        ({}, 400, "invalid_request", "id"),
    ],
)
async def test_a_row_that_cannot_be_served_is_refused_by_its_field(
    deployment: Deployment, row: dict[str, Any], status: int, code: str, param: str
) -> None:
    async with client_of(deployment.app) as client:
        reply = await client.post(ADMIN, json=row)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (status, code, param)
        assert await ids(client) == [MODEL, "org/bare"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs", {"model": MODEL, "input": QUESTION}),
        (f"/models/{MODEL}", {"inputs": "What?"}),
        ("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "What?"}]}),
        ("/v1/responses", {"model": MODEL, "input": "What?"}),
    ],
)
async def test_a_repeated_call_is_answered_as_before_though_its_model_was_removed(
    deployment: Deployment, path: str, body: dict[str, Any]
) -> None:
    deployment.worker.beat()
    keyed = {"Idempotency-Key": "once"}
    async with client_of(deployment.app) as client:
        asking = asyncio.create_task(client.post(path, json=body, headers=keyed))
        await until_async(lambda: _waiting(deployment, 1))
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        first = await asking
        await client.delete(f"{ADMIN}/{MODEL}")
        again = await client.post(path, json=body, headers=keyed)
        assert again.is_success
        assert again.headers["x-job-id"] == first.headers["x-job-id"]
        new = await client.post(path, json=body)
        assert new.status_code == 404, "under no key, or a new one, it is a new call"


async def test_where_no_model_is_left_the_service_says_so_and_goes_on(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        for name in (MODEL, "org/bare"):
            await client.delete(f"{ADMIN}/{name}")
        assert (await client.post("/", json={"inputs": "What?"})).status_code == 404
        assert (await client.get("/health")).json()["store"] == "reachable"
        assert (await client.get("/ready")).status_code == 503


async def _waiting(deployment: Deployment, count: int) -> bool:
    return deployment.worker.queued() >= count


async def test_a_drained_model_takes_jobs_again_once_it_is_resumed(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        await client.post(f"{ADMIN}/{MODEL}/drain")
        refused = await submitted(client)
        await client.post(f"{ADMIN}/{MODEL}/resume")
        again = await submitted(client)
    assert [reply.status_code for reply in (refused, again)] == [503, 202]


def maintain(deployment: Deployment) -> int:
    return ModelRemoval(deployment.worker.settings, deployment.worker.store).end_waiting()


@pytest.mark.usefixtures("quick_batches")
@pytest.mark.parametrize("deployment", [{"queue": {"max_queued": 4000}}], indirect=True)
async def test_lines_of_a_batch_for_a_removed_model_are_counted_as_failed(
    deployment: Deployment, client: openai.AsyncOpenAI
) -> None:
    lines = [line(f"{n}", f"text {n}") for n in range(8)]
    made = await begun(client, lines)
    await until_async(lambda: _waiting(deployment, 8))
    async with client_of(deployment.app) as operator:
        await operator.delete(f"{ADMIN}/{MODEL}")
    assert maintain(deployment) == 8
    later = await begun(client, lines)
    for batch, code in ((made, "model_removed"), (later, "model_not_found")):
        over = await ended(client, batch)
        assert over.request_counts is not None
        assert over.request_counts.to_dict() == {"total": 8, "completed": 0, "failed": 8}
        rows = await content(client, over.error_file_id)
        assert {row["response"]["body"]["error"]["code"] for row in rows} == {code}
