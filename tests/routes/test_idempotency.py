"""The same call again under its Idempotency-Key, when the answer to the first is no longer kept."""

import asyncio
from typing import Any

import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of, serving
from tests.support.clients import until_async
from tests.support.fake_service import FakeService
from tests.support.stored import forget_answers

CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What is this?"}]}
RESPONSE = {"model": "sightline/tiny", "input": "What is this?"}
JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
WAIT = {"prefer": "wait=30"}

DOORS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "chat": ("/v1/chat/completions", CHAT, {}),
    "a chat's stream": ("/v1/chat/completions", CHAT | {"stream": True}, {}),
    "a task": ("/models/sightline/tiny", {"inputs": "A cat is"}, {}),
    "a task in the background": ("/models/sightline/tiny", {"inputs": "A cat"}, {"prefer": "respond-async"}),
    "a response": ("/v1/responses", RESPONSE, {}),
    "a response in the background": ("/v1/responses", RESPONSE | {"background": True}, {}),
    "a job": ("/v1/jobs", JOB, {}),
    "a job that is waited for": ("/v1/jobs", JOB, WAIT),
}


@pytest.mark.parametrize("door", DOORS)
async def test_a_repeat_whose_answer_is_no_longer_kept_says_so_at_every_door(
    deployment: Deployment, door: str
) -> None:
    path, body, headers = DOORS[door]
    call: dict[str, Any] = {"json": body, "headers": headers | {"idempotency-key": "once"}}

    async def waits() -> bool:
        return not deployment.worker.idle()

    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        asking = asyncio.ensure_future(client.post(path, **call))
        await until_async(waits)
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        first = await asking
        forget_answers(deployment.worker.store.client)
        again = await client.post(path, **call)

    assert first.status_code in (200, 202), first.text
    assert again.status_code == 410, again.text
    assert "is no longer kept; ask again under another key" in again.text


async def test_an_answer_that_is_gone_before_its_waiting_caller_reads_it_is_no_fault_of_ours() -> None:
    service = FakeService()
    service.script = service.end_without_result
    async with serving(service) as client:
        reply = await client.post("/v1/chat/completions", json=CHAT)

    assert (reply.status_code, reply.json()["error"]["code"]) == (410, "result_expired")
