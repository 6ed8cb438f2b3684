"""`store: false`: once the answer was sent nothing of the job, its texts and its pictures is left."""

import asyncio
import base64
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.batches.line_endpoints import LINE_ENDPOINTS
from shared.errors import CallerError
from tests.routes.conftest import Deployment
from tests.support.app import client_of, serving
from tests.support.app_server import listening
from tests.support.clients import until_async
from tests.support.fake_service import FakeService
from tests.support.keys import KEYED, customer
from tests.support.patience import PATIENCE_S
from tests.support.store import READS

ANSWER, QUESTION = "A red circle.", "What was drawn here?"
PICTURE = (Path(__file__).parents[2] / "examples" / "sample.png").read_bytes()
SHOWN = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
PARTS = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": SHOWN}}]
MODEL = "sightline/tiny"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": PARTS}], "store": False}
HF = {"inputs": {"text": QUESTION, "image": SHOWN}}
JOB = {"model": MODEL, "input": {"prompt": QUESTION, "image": SHOWN}, "store": False}
WAIT = {"prefer": "wait=30"}

SYNCHRONOUS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "chat": ("/v1/chat/completions", CHAT, {}),
    "a chat's stream": ("/v1/chat/completions", {**CHAT, "stream": True}, {}),
    "a model's chat": ("/models/sightline/tiny/v1/chat/completions", CHAT, {}),
    "a task": ("/models/sightline/tiny", {**HF, "store": False}, {}),
    "a task's parameters": ("/models/sightline/tiny", {**HF, "parameters": {"store": False}}, {}),
    "a task's stream": ("/models/sightline/tiny", {**HF, "store": False, "stream": True}, {}),
    "a job that is waited for": ("/v1/jobs", JOB, WAIT),
    "a call that may be repeated": ("/v1/chat/completions", CHAT, {"idempotency-key": "once"}),
}


def left(deployment: Deployment) -> list[str]:
    """What the record store and the picture folder still hold of a question, its answer and its job."""
    client = deployment.worker.store.client
    dump = {key: f"{key} {READS[client.type(key)](client, key)}" for key in client.keys("sl9:*")}
    marks = ("sl9:purged:", "sl9:deleting:", "sl9:claim:")
    said = [
        key
        for key, text in dump.items()
        if not key.startswith(marks) and any(word in text for word in (QUESTION, ANSWER, "job_", "run_"))
    ]
    return said + pictures(deployment)


def pictures(deployment: Deployment) -> list[str]:
    folder = Path(deployment.worker.settings.blobs.url)
    return [str(path) for path in folder.rglob("*") if path.is_file()]


async def answered(deployment: Deployment, call: Awaitable[httpx.Response]) -> httpx.Response:
    """The reply to a call, which the worker answers."""
    asking = asyncio.ensure_future(call)
    await deployment.worker.waiting()
    assert left(deployment), "while it is worked on it is kept"
    claim = deployment.worker.take()
    assert not claim.stored
    deployment.worker.say(claim, ANSWER)
    deployment.worker.succeed(claim, ANSWER)
    return await asking


@pytest.mark.parametrize("name", SYNCHRONOUS)
async def test_nothing_is_left_once_the_answer_was_sent(deployment: Deployment, name: str) -> None:
    path, body, headers = SYNCHRONOUS[name]
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        reply = await answered(deployment, client.post(path, json=body, headers=headers))
        assert reply.status_code == 200
        assert ANSWER in reply.text
        assert reply.headers["x-cache"] == "BYPASS"
        assert left(deployment) == []
        assert (await client.get(f"/v1/jobs/{reply.headers['x-job-id']}")).status_code == 404


async def submitted(deployment: Deployment, client: httpx.AsyncClient) -> str:
    """A job that has succeeded and that nobody was told of; its URL."""
    deployment.worker.beat()
    reply = await client.post("/v1/jobs", json=JOB)
    assert reply.status_code == 202
    assert reply.json()["store"] is False
    claim = deployment.worker.take()
    deployment.worker.say(claim, ANSWER)
    deployment.worker.succeed(claim, ANSWER)
    return str(reply.json()["urls"]["self"])


async def test_a_job_is_read_once(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        url = await submitted(deployment, client)
        assert (await client.get("/v1/jobs")).json()["data"] == []
        assert (await client.head(url)).status_code == 200
        reply = await client.get(url)
        assert reply.json()["result"]["text"] == ANSWER
        assert left(deployment) == []
        assert (await client.get(url)).status_code == 404


async def test_a_job_s_events_are_read_once_to_their_end(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        url = await submitted(deployment, client)
        assert ANSWER in (await client.get(f"{url}/events")).text
        assert left(deployment) == []


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_job_that_is_given_up_leaves_as_little(deployment: Deployment, how: str) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        url = (await client.post("/v1/jobs", json=JOB)).json()["urls"]["self"]
        call = client.post(f"{url}/cancel") if how == "cancel" else client.delete(url)
        assert (await call).is_success
        assert left(deployment) == []


async def test_an_error_that_was_told_leaves_as_little(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=CHAT))
        deployment.worker.fail(await deployment.worker.taken(), "invalid_image", "The picture is broken.")
        assert (await asking).status_code == 400
        assert left(deployment) == []


async def test_a_caller_who_hangs_up_leaves_as_little(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with (
        listening(deployment.app) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client,
    ):
        asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=CHAT))
        await deployment.worker.waiting()
        asking.cancel()

        async def gone() -> bool:
            return left(deployment) == []

        await until_async(gone)


async def test_who_asks_the_same_computes_it_anew_and_what_they_store_stays(deployment: Deployment) -> None:
    deployment.worker.beat()
    path, body = "/v1/chat/completions", {**CHAT, "store": True}
    async with client_of(deployment.app) as client:
        await answered(deployment, client.post(path, json=CHAT))
        asking = asyncio.ensure_future(client.post(path, json=body))
        deployment.worker.succeed(await deployment.worker.taken(), ANSWER)
        stored = await asking
        again = await answered(deployment, client.post(path, json=CHAT))
        read = await client.get(f"/v1/jobs/{stored.headers['x-job-id']}")
    assert (stored.headers["x-cache"], again.headers["x-cache"]) == ("MISS", "BYPASS")
    assert read.json()["result"]["text"] == ANSWER
    assert len(pictures(deployment)) == 1


async def test_what_says_nothing_else_is_stored() -> None:
    service = FakeService()
    service.script = lambda job: service.succeed(job, ANSWER)
    async with serving(service) as client:
        for said in (None, True):
            for path, body, _ in (
                SYNCHRONOUS[name] for name in ("chat", "a task", "a job that is waited for")
            ):
                assert (await client.post(path, json=body | {"store": said})).is_success
    assert [terms.stored for _, terms in service.asked] == [True] * 6


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_another_caller_makes_it_forget_nothing(deployment: Deployment) -> None:
    async with await customer(deployment.app, "one") as one, await customer(deployment.app, "two") as two:
        url = await submitted(deployment, one)
        assert (await two.get(url)).status_code == 404
        assert (await two.get(f"{url}/events")).status_code == 404
        assert (await one.get(url)).json()["status"] == "succeeded"


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
@pytest.mark.parametrize(("key_s", "kept_s"), [(60, 60), (31_536_000, 3600)])
async def test_what_is_not_to_be_kept_is_kept_no_longer_for_a_key_that_keeps_long(
    deployment: Deployment, key_s: int, kept_s: int
) -> None:
    """Where nobody is told of its end, nothing else makes it be forgotten."""
    async with await customer(deployment.app, "one", retain_s=key_s) as one:
        url = await submitted(deployment, one)
    assert deployment.worker.store.client.ttl(f"sl9:{url.split('/')[-1]}") == pytest.approx(kept_s, abs=5)


def test_a_line_of_a_batch_whose_answers_are_kept_in_a_file_is_refused() -> None:
    with pytest.raises(CallerError) as refused:
        LINE_ENDPOINTS["/v1/chat/completions"].read(CHAT)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "store")
