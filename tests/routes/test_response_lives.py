"""A response afterwards: of another kind, not stored; and what asks wrongly for it."""

import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import data, posted
from tests.support.responses import ASK, LATER, PATH, answered, begun, finish, kinds
from tests.support.stored import forget_answers


async def test_a_job_of_another_door_is_no_response(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        body = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
        job = (await client.post("/v1/jobs", json=body)).json()["id"]
        replies = [await client.get(f"{PATH}/{name}") for name in (job, job.replace("job_", "resp_"), "%00")]

    assert [r.status_code for r in replies] == [404] * 3


@pytest.mark.parametrize("query", ["", "?stream=true"])
async def test_a_response_that_is_not_stored_is_gone_once_told(deployment: Deployment, query: str) -> None:
    async with client_of(deployment.app) as client:
        response = await answered(deployment.worker, client, store=False)
        items = await client.get(f"{PATH}/{response}/input_items")
        on = await client.post(PATH, json=LATER | {"previous_response_id": response})
        told = await client.get(f"{PATH}/{response}{query}")
        again = await client.get(f"{PATH}/{response}")

    assert '"store":false' in told.text
    assert "A cat." in told.text
    assert [r.status_code for r in (items, on, told, again)] == [200, 404, 200, 404]


async def test_a_stream_that_is_not_to_be_stored_leaves_nothing(deployment: Deployment) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, ASK | {"stream": True, "store": False}, PATH)
    await deployment.worker.waiting()
    finish(deployment.worker)
    await call.finish()

    assert kinds(data(call.body))[-1] == "completed"
    assert deployment.worker.store.client.keys("sl9:job_*") == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?stream=perhaps", "stream"),
        ("?stream=true&starting_after=-1", "starting_after"),
        ("?include[]=everything", "include[0]"),
        ("?include_obfuscation=2", "include_obfuscation"),
        ("/input_items?limit=many", "limit"),
        ("/input_items?after=msg_0", "after"),
        ("/input_items?include=everything", "include[0]"),
    ],
)
async def test_a_wrong_query_is_named(deployment: Deployment, query: str, param: str) -> None:
    async with client_of(deployment.app) as client:
        response = await begun(deployment.worker, client)
        reply = await client.get(f"{PATH}/{response}{query}")

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


async def test_a_deleted_response_is_gone_with_its_job(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        response = await answered(deployment.worker, client)
        gone = await client.delete(f"{PATH}/{response}")
        replies = [
            await client.get(f"{PATH}/{response}"),
            await client.get(f"{PATH}/{response}?stream=true"),
            await client.get(f"{PATH}/{response}/input_items"),
            await client.post(f"{PATH}/{response}/cancel"),
            await client.delete(f"{PATH}/{response}"),
        ]
        jobs = (await client.get("/v1/jobs")).json()["data"]

    assert gone.json() == {"id": response, "object": "response", "deleted": True}
    assert [(r.status_code, r.json()["error"]["code"]) for r in replies] == [(404, "response_not_found")] * 5
    assert jobs == []


async def test_a_response_whose_answer_is_no_longer_kept_can_be_deleted_and_not_read(
    deployment: Deployment,
) -> None:
    async with client_of(deployment.app) as client:
        response = await answered(deployment.worker, client)
        forget_answers(deployment.worker.store.client)
        read = await client.get(f"{PATH}/{response}")
        on = await client.post(PATH, json=LATER | {"previous_response_id": response})
        gone = await client.delete(f"{PATH}/{response}")

    assert [(r.status_code, r.json()["error"]["code"]) for r in (read, on)] == [(410, "result_expired")] * 2
    assert gone.status_code == 200
