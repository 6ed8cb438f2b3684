"""Many jobs cancelled by one call: what became of each is said in the order in which they were named."""

from typing import Any

import httpx
import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.clients import until_async
from tests.support.keys import KEYED, customer


async def made(client: httpx.AsyncClient, **more: Any) -> str:
    body = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}} | more
    reply = await client.post("/v1/jobs", json=body, headers={"x-use-cache": "false"})
    return str(reply.json()["id"])


async def test_each_job_is_cancelled_and_one_that_ended_stays(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        ended = await made(client)
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        waiting, running = await made(client), await made(client)
        deployment.worker.take()
        named = [running, "job_0", ended, waiting]
        reply = await client.post("/v1/jobs/cancel", json={"ids": named})
        again = await client.post("/v1/jobs/cancel", json={"ids": named})

    words = [row.get("status") or row["error"]["code"] for row in reply.json()["data"]]
    assert [row["id"] for row in reply.json()["data"]] == named
    assert words == ["cancelled", "job_not_found", "succeeded", "cancelled"]
    assert again.json() == reply.json()


async def test_jobs_that_are_not_stored_are_forgotten_once_their_ends_are_told(
    deployment: Deployment,
) -> None:
    async with client_of(deployment.app) as client:
        ids = [await made(client, store=False) for _ in range(2)]
        await client.post("/v1/jobs/cancel", json={"ids": ids})

        async def forgotten() -> bool:
            replies = [await client.get(f"/v1/jobs/{id}") for id in ids]
            return all(reply.status_code == 404 for reply in replies)

        await until_async(forgotten)


@pytest.mark.parametrize("ids", [[], ["job_0"] * 2, [f"job_{n}" for n in range(101)], "job_0", [1], None])
async def test_what_is_no_list_of_jobs_is_refused(deployment: Deployment, ids: Any) -> None:
    async with client_of(deployment.app) as client:
        reply = await client.post("/v1/jobs/cancel", json={"ids": ids})
    assert (reply.status_code, reply.json()["param"].partition("[")[0]) == (400, "ids")


@pytest.mark.parametrize("deployment", [KEYED], indirect=True, ids=["keyed"])
async def test_another_caller_s_job_does_not_exist(deployment: Deployment) -> None:
    async with await customer(deployment.app, "one") as one, await customer(deployment.app, "other") as other:
        job = await made(one)
        reply = await other.post("/v1/jobs/cancel", json={"ids": [job]})
        assert reply.json()["data"][0]["error"]["code"] == "job_not_found"
        assert (await one.get(f"/v1/jobs/{job}")).json()["status"] == "queued"
