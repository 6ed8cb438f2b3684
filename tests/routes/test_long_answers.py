"""Long answers: they are read and written beside the event loop, and only so many of them at once."""

from threading import current_thread
from typing import Any

import httpx
import pytest
from pydantic_core import to_json

from api.context import PAGES_AT_ONCE
from api.jobs.service import Jobs
from api.server import memory_budget
from shared.store import views
from tests.routes.conftest import Deployment
from tests.support.app import client_of

QUESTION = "What is this?"
MODEL = "sightline/tiny"
JOB = {"model": MODEL, "input": {"prompt": QUESTION}}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of them read a job or wrote an answer."""
    names: list[str] = []

    def noted(work: Any) -> Any:
        def does(*said: Any, **named: Any) -> Any:
            names.append(current_thread().name.partition("_")[0])
            return work(*said, **named)

        return does

    monkeypatch.setattr(views, "job", noted(views.job))
    monkeypatch.setattr("api.server.route.to_json", noted(to_json))
    return names


async def test_a_long_answer_holds_up_nobody_at_any_door(deployment: Deployment, threads: list[str]) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB, headers={"idempotency-key": "k"})).json()
        deployment.worker.succeed(deployment.worker.take(), "A cat. " * 10_000)
        threads.clear()
        own = job["urls"]["self"]
        asked = [
            await client.get("/v1/jobs"),
            await client.get(own),
            await client.post("/v1/jobs", json=JOB),
            await client.post("/v1/jobs", json=JOB, headers={"prefer": "wait=1"}),
            await client.post("/v1/jobs", json=JOB, headers={"idempotency-key": "k"}),
            await client.post(f"{own}/cancel"),
            await client.post("/v1/chat/completions", json=CHAT),
            await client.post(f"/models/{MODEL}", json={"inputs": QUESTION}),
            await client.post("/v1/responses", json={"model": MODEL, "input": QUESTION}),
            await client.get(f"{own}/events"),
        ]

    assert [len(reply.content) > 64 * 2**10 for reply in asked] == [True] * len(asked)
    assert set(threads) == {"writer"}


async def test_pages_that_many_ask_for_at_once_are_not_all_in_memory_at_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without keys everybody is one caller; a list without answers needs no room."""
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 0.01)
    read, replies, bare = Jobs.list, list[httpx.Response](), list[httpx.Response]()
    async with client_of(deployment.app) as client:

        async def meanwhile(*args: Any, **more: Any) -> Any:
            """Another is asked for while this one is read."""
            if more.get("results", True) and len(bare) < PAGES_AT_ONCE:
                bare.append(await client.get("/v1/jobs", params={"results": "false"}))
                replies.append(await client.get("/v1/jobs"))
            return await read(*args, **more)

        monkeypatch.setattr(Jobs, "list", meanwhile)
        replies.append(await client.get("/v1/jobs"))

    assert [reply.status_code for reply in replies] == [503] + [200] * PAGES_AT_ONCE
    assert replies[0].json()["code"] == "queue_full"
    assert {reply.status_code for reply in bare} == {200}
