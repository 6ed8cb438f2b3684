"""What a key is not told for want of the scope `read`."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.routes.conftest import Deployment
from tests.support.circle_questions import data_uri
from tests.support.documents import pdf
from tests.support.keys import KEYED, code_of, customer
from tests.support.pictures import picture
from tests.support.responses import LATER, PATH, answered

JOB = {
    "model": "sightline/tiny",
    "input": {"prompt": "What is this?"},
    "webhook": {"url": "https://example.com/told", "secret": "whsec_" + "a" * 32},
}
pytestmark = pytest.mark.parametrize("deployment", [KEYED], indirect=True, ids=["keyed"])


@pytest.fixture
async def one(deployment: Deployment) -> AsyncIterator[httpx.AsyncClient]:
    """With both scopes."""
    deployment.worker.beat()
    async with await customer(deployment.app, "one") as client:
        yield client


@pytest.fixture
async def asking(deployment: Deployment) -> AsyncIterator[httpx.AsyncClient]:
    """Of the same caller, and may ask alone."""
    async with await customer(deployment.app, "one", scopes=["submit"]) as client:
        yield client


async def test_who_may_not_read_learns_of_no_question(
    one: httpx.AsyncClient, asking: httpx.AsyncClient
) -> None:
    body = {"model": "sightline/tiny", "input": {"prompt": "What?", "image": data_uri(picture())}}
    url = (await one.post("/v1/jobs", json=body)).json()["urls"]["self"]
    for path in ("/v1/live?seconds=0", f"{url}/request", f"{url}/pictures/0", f"{url}/pictures/0?side=64"):
        refused = await asking.get(path)
        assert (refused.status_code, code_of(refused)) == (403, "insufficient_scope"), path
        assert (await one.get(path)).status_code == 200


@pytest.mark.parametrize("act", ["cancel", "retry", "webhook/redeliver"])
async def test_who_may_not_read_is_shown_no_earlier_answer_by_what_it_may_do_to_its_job(
    deployment: Deployment, one: httpx.AsyncClient, asking: httpx.AsyncClient, act: str
) -> None:
    url = (await one.post("/v1/jobs", json=JOB)).json()["urls"]["self"]
    deployment.worker.succeed(deployment.worker.take(), "A cat.")
    headers = {"idempotency-key": "k"}
    hidden = [await asking.post(f"{url}/{act}", headers=headers) for _ in range(2)]
    seen = await one.post(f"{url}/{act}", headers=headers)

    assert {
        (r.status_code, r.json()["status"], frozenset(r.json()) & {"result", "question"}) for r in hidden
    } == {(seen.status_code, "succeeded", frozenset())}
    assert seen.json()["result"]["text"] == "A cat."


async def test_who_may_not_read_learns_of_no_pages(one: httpx.AsyncClient, asking: httpx.AsyncClient) -> None:
    purpose = {"purpose": "user_data"}
    upload = await one.post("/v1/files", files={"file": ("a.pdf", pdf(["one"]))}, data=purpose)
    document = {"file": upload.json()["id"], "per": "page"}
    asked = [await client.post("/v1/jobs", json=JOB | {"document": document}) for client in (asking, one)]
    cancelled = [await client.post(asked[1].json()["urls"]["cancel"]) for client in (asking, one)]

    assert [reply.status_code for reply in asked + cancelled] == [202, 202, 200, 200]
    assert ["question" in reply.json() for reply in asked + cancelled] == [False, True, False, True]
    assert cancelled[1].json()["question"]["text"] == "What is this?"


async def test_who_may_ask_alone_is_shown_the_answer_to_what_it_asks(
    deployment: Deployment, one: httpx.AsyncClient, asking: httpx.AsyncClient
) -> None:
    await one.post("/v1/jobs", json=JOB)
    deployment.worker.succeed(deployment.worker.take(), "A cat.")
    again = await asking.post("/v1/jobs", json=JOB, headers={"prefer": "wait=60"})

    assert (again.status_code, again.headers["x-cache"]) == (200, "HIT")
    assert again.json()["result"]["text"] == "A cat."


@pytest.mark.parametrize("prefer", ["respond-async", "wait=60"])
async def test_snippets_are_for_keys_that_may_read(
    deployment: Deployment, one: httpx.AsyncClient, asking: httpx.AsyncClient, prefer: str
) -> None:
    await one.post("/v1/jobs", json=JOB)
    deployment.worker.succeed(deployment.worker.take(), "A cat.")
    replies = [
        await client.post("/v1/jobs", json=JOB, headers={"prefer": prefer}) for client in (one, asking)
    ]

    assert ["question" in reply.json() for reply in replies] == [True, False]


async def test_who_may_not_read_goes_on_from_no_earlier_response(
    deployment: Deployment, one: httpx.AsyncClient, asking: httpx.AsyncClient
) -> None:
    earlier = await answered(deployment.worker, one)
    item = {"type": "item_reference", "id": f"msg_{earlier.removeprefix('resp_')}"}
    asked: list[dict[str, Any]] = [
        {"previous_response_id": earlier},
        {"input": [item, {"role": "user", "content": "Say it again."}]},
    ]
    refused = [await asking.post(PATH, json=LATER | said) for said in asked]
    taken = [await one.post(PATH, json=LATER | said) for said in asked]
    ended = [await client.post(f"{PATH}/{earlier}/cancel") for client in (asking, one)]

    assert [(r.status_code, code_of(r)) for r in refused] == [(403, "insufficient_scope")] * 2
    assert [r.status_code for r in taken] == [200] * 2
    assert [bool(r.json()["output"]) for r in ended] == [False, True]


async def test_who_may_not_read_sees_no_instructions_of_a_response_that_it_cancels(
    one: httpx.AsyncClient, asking: httpx.AsyncClient
) -> None:
    tool = {"type": "function", "name": "book", "parameters": {"type": "object", "properties": {}}}
    body = {**LATER, "instructions": "Our secret.", "user": "u1"}
    response = (await one.post(PATH, json=body | {"tools": [tool], "temperature": 0.3})).json()["id"]
    blind, seeing = [(await client.post(f"{PATH}/{response}/cancel")).json() for client in (asking, one)]

    assert [shown["status"] for shown in (blind, seeing)] == ["cancelled"] * 2
    assert (blind["instructions"], blind["tools"], blind["user"]) == (None, [], None)
    assert blind["temperature"] == 1.0
    assert (seeing["instructions"], len(seeing["tools"]), seeing["user"]) == ("Our secret.", 1, "u1")
