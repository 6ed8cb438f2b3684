"""A list of jobs over the real store: what its query asks for is what it shows."""

from typing import Any

import httpx
import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of

JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}


async def made(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    reply = await client.post("/v1/jobs", json=JOB | more, headers={"x-use-cache": "false"})
    assert reply.status_code == 202, reply.text
    return dict(reply.json())


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    reply = await client.get("/v1/jobs", params=query)
    assert reply.status_code == 200, reply.text
    return [job["id"] for job in reply.json()["data"]]


async def test_an_order_s_jobs_are_found_by_its_number(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        first = await made(client, metadata={"order": "6735", "step": "1"})
        second = await made(client, metadata={"order": "6735", "a=b": "2"}, priority="batch")
        await made(client, metadata={"order": "6736"})

        assert await ids(client, metadata="order=6735") == [second["id"], first["id"]]
        assert await ids(client, metadata=["order=6735", "step=1"]) == [first["id"]]
        assert await ids(client, metadata="order=6735", priority="batch") == [second["id"]]
        assert await ids(client, metadata="order=") == []
        assert len(await ids(client, status=["queued", "running"])) == 3
        assert await ids(client, status=["running", "failed"]) == []
        assert await ids(client, model="org/bare") == []
        assert await ids(client, created_after=first["created_at"], metadata="step=1") == [first["id"]]
        assert await ids(client, created_before=first["created_at"], metadata="step=1") == []


async def test_a_table_of_jobs_does_not_carry_their_answers(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        job = await made(client)
        deployment.worker.succeed(deployment.worker.take(), "A triangle.")
        (whole,) = (await client.get("/v1/jobs")).json()["data"]
        (bare,) = (await client.get("/v1/jobs", params={"results": "false"})).json()["data"]

    assert (bare["id"], bare["status"]) == (job["id"], "succeeded")
    rest = {name: value for name, value in whole.items() if name not in ("result", "receipt")}
    assert bare == rest | {"answer": "A triangle."}
    assert len(bare) == len(whole) - 1


async def test_a_question_is_found_by_its_words(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        job = await made(client, input={"prompt": "  What is the\n" + "long " * 100 + "red thing?"})
        await made(client)
        (found,) = (await client.get("/v1/jobs", params={"search": "THE LONG"})).json()["data"]
        wrong = await client.get("/v1/jobs", params={"search": " "})

    line = "What is the " + "long " * 21
    assert (found["id"], found["question"]) == (job["id"], {"text": line + "…", "pictures": 0})
    assert job["question"] == found["question"]
    assert (wrong.status_code, wrong.json()["param"]) == (400, "search")


async def test_jobs_are_counted_by_status(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    async with client_of(deployment.app) as client:
        for _ in range(2):
            await made(client)
        await made(client, priority="batch")
        whole = await client.get("/v1/jobs/counts", params={"priority": "normal"})
        monkeypatch.setattr("shared.store.jobs.LOOK", 1)
        monkeypatch.setattr("api.jobs.service.COUNTED", 2)
        some = await client.get("/v1/jobs/counts")

    nothing = dict.fromkeys(("queued", "running", "succeeded", "failed", "cancelled"), 0)
    assert whole.json() == {"object": "job.counts", "counts": nothing | {"queued": 2}, "complete": True}
    assert some.json() == {"object": "job.counts", "counts": nothing | {"queued": 2}, "complete": False}


@pytest.mark.parametrize("search", ['"', "\\", " / ", '"\\/'])
async def test_a_search_for_what_is_not_searched_is_refused(deployment: Deployment, search: str) -> None:
    async with client_of(deployment.app) as client:
        await made(client)
        reply = await client.get("/v1/jobs", params={"search": search})

    assert (reply.status_code, reply.json()["param"]) == (400, "search")


async def test_a_list_is_walked_to_its_end_though_what_it_showed_is_deleted(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        jobs = [(await made(client))["id"] for _ in range(3)]
        seen: list[str] = []
        query: dict[str, Any] = {"limit": 1}
        while True:
            page = (await client.get("/v1/jobs", params=query)).json()
            seen += [job["id"] for job in page["data"]]
            await client.delete(f"/v1/jobs/{seen[-1]}")
            if page["next"] is None:
                break
            query["after"] = page["next"]

    assert (seen, page["has_more"]) == (jobs[::-1], False)
