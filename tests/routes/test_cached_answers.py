"""A cached answer costs no job: it is read from the store, and nothing is written."""

import json
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest

from shared.errors import Unavailable
from shared.store import models
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import data, posted
from tests.support.keys import KEYED, bearer, customer, made
from tests.support.metrics import counted
from tests.support.store import READS
from tests.support.stored import change

MODEL = "sightline/tiny"
QUESTION = "What is this?"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "seed": 1}
CHATS = "/v1/chat/completions"
CHAT_AS_RAW = {"inputs": QUESTION, "parameters": {"seed": 1}}
ROUTES = {
    "chat": (CHATS, CHAT),
    "chat of the model's own URL": (f"/models/{MODEL}{CHATS}", CHAT),
    "raw": (f"/models/{MODEL}", {"inputs": QUESTION}),
    "raw with details": (f"/models/{MODEL}", {"inputs": QUESTION, "parameters": {"details": True}}),
}
NOT_OF_JOBS = ("sl9:upkeep", "sl9:count", "sl9:worker", "sl9:ready", "sl9:key")


async def computed(deployment: Deployment, body: dict[str, Any], path: str = CHATS, **headers: str) -> str:
    """Asks for the first time, and answers in two pieces; the id of the job that did."""
    deployment.worker.beat()
    call = posted(deployment.app, body, path, **headers)
    claim = await deployment.worker.taken()
    deployment.worker.say(claim, "A red ")
    deployment.worker.say(claim, "square.", start=6)
    deployment.worker.succeed(claim, "A red square.")
    await call.finish()
    assert (call.status, call.headers["x-cache"]) == (200, "MISS")
    return call.headers["x-job-id"]


def stored(deployment: Deployment) -> dict[str, Any]:
    """Every key of the store and what it holds, but what processes say of themselves."""
    client = deployment.worker.store.client
    found = {}
    for key in sorted(client.scan_iter("sl9:*")):
        if not key.startswith(NOT_OF_JOBS):
            pipe = client.pipeline(transaction=False)
            READS[client.type(key)](pipe, key)
            found[key] = pipe.execute()
    return found


def without_ids(reply: httpx.Response) -> Any:
    """What a call was answered, without what every call has of its own."""
    answer = reply.json()
    own = ("id", "created")
    return {k: v for k, v in answer.items() if k not in own} if isinstance(answer, dict) else answer


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("path", "body"), ROUTES.values(), ids=ROUTES)
async def test_a_cached_answer_reads_as_one_that_a_job_has_and_leaves_nothing_in_the_store(
    deployment: Deployment, path: str, body: dict[str, Any], stream: bool
) -> None:
    job = await computed(deployment, body, path)
    before, body = stored(deployment), {**body, "stream": stream}
    async with client_of(deployment.app) as client:
        cached = await client.post(path, json=body)
        after = stored(deployment)
        of_a_job = await client.post(path, json=body, headers={"idempotency-key": "k"})
    assert (cached.status_code, after) == (200, before)
    assert cached.headers["x-job-id"] == job, "the caller's own job that computed it"
    assert (of_a_job.headers["x-cache"], cached.headers["x-cache"]) == ("HIT", "HIT")
    assert of_a_job.headers["x-job-id"] != job
    if stream:
        words = [[_text(block) for block in data(reply.content)] for reply in (cached, of_a_job)]
        assert words[0] == words[1]
        assert "".join(words[0]).startswith("A red square.")
    else:
        assert without_ids(cached) == without_ids(of_a_job)


def _text(block: Any) -> str:
    if not isinstance(block, dict):
        return ""
    if "token" in block:
        return str(block["token"]["text"])
    return str(block["choices"][0]["delta"].get("content") or "")


@pytest.mark.parametrize(
    ("headers", "more"),
    [({"idempotency-key": "k"}, {}), ({}, {"metadata": {"project": "a"}})],
    ids=["under a key", "with metadata"],
)
async def test_a_caller_who_asks_for_more_than_an_answer_gets_a_job(
    deployment: Deployment, headers: dict[str, str], more: dict[str, Any]
) -> None:
    first = await computed(deployment, CHAT)
    async with client_of(deployment.app) as client:
        reply = await client.post(CHATS, json=CHAT | more, headers=headers)
        job = (await client.get(f"/v1/jobs/{reply.headers['x-job-id']}")).json()
    assert (reply.headers["x-cache"], job["cache"], job["status"]) == ("HIT", "HIT", "succeeded")
    assert job["id"] != first


@pytest.mark.parametrize("deployment", [KEYED | {"queue": {"share_answers": True}}], indirect=True)
async def test_no_caller_learns_of_another_s_job_by_a_shared_answer(deployment: Deployment) -> None:
    key = (await made(deployment.app, "owner"))["secret"]
    job = await computed(deployment, CHAT, **bearer(key))
    async with await customer(deployment.app, "other") as other:
        reply = await other.post(CHATS, json=CHAT)
    assert reply.headers["x-cache"] == "HIT"
    assert "x-job-id" not in reply.headers
    assert job not in json.dumps([*reply.headers.items(), reply.text])


async def test_an_answer_whose_job_was_deleted_names_no_job(deployment: Deployment) -> None:
    first = await computed(deployment, CHAT)
    async with client_of(deployment.app) as client:
        await client.post(CHATS, json=CHAT, headers={"idempotency-key": "k"})
        await client.delete(f"/v1/jobs/{first}")
        reply = await client.post(CHATS, json=CHAT)
    assert reply.headers["x-cache"] == "HIT"
    assert "x-job-id" not in reply.headers


async def test_two_cached_answers_are_counted_and_have_ids_of_their_own(deployment: Deployment) -> None:
    await computed(deployment, CHAT)
    labels = {"model": MODEL, "class": "normal", "cache": "hit"}
    before = counted("sightline_jobs_admitted_total", **labels)
    async with client_of(deployment.app) as client:
        replies = [(await client.post(CHATS, json=CHAT)).json() for _ in range(2)]
    assert counted("sightline_jobs_admitted_total", **labels) == before + 2
    assert len({reply["id"] for reply in replies}) == 2


async def test_the_trace_of_a_cached_answer_names_the_job_that_its_caller_finds(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, told = await computed(deployment, CHAT), list[dict[str, Any]]()
    monkeypatch.setattr("shared.telemetry.traces.on", lambda: True)
    monkeypatch.setattr("shared.telemetry.traces.set_attributes", told.append)
    async with client_of(deployment.app) as client:
        await client.post(CHATS, json=CHAT)
        again = await client.post(CHATS, json=CHAT, headers={"idempotency-key": "k"})
        await client.delete(f"/v1/jobs/{first}")
        await client.post(CHATS, json=CHAT)
    jobs = [attributes.get("sightline.job.id") for attributes in told]
    assert jobs == [first, again.headers["x-job-id"], None]
    assert [attributes["sightline.cache"] for attributes in told] == ["HIT"] * 3


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHATS, CHAT), (f"/models/{MODEL}", CHAT_AS_RAW | {"parameters": {"temperature": 1}})],
    ids=["seeded", "drawn"],
)
async def test_an_answer_that_outlived_its_job_can_still_be_deleted(
    deployment: Deployment, path: str, body: dict[str, Any]
) -> None:
    """As docs/privacy.md says. What is drawn without a seed is cached for the Hugging Face routes alone."""
    first = await computed(deployment, body, path)
    change(deployment.worker.store.client, first, till=1)
    async with client_of(deployment.app) as client:
        reply = await client.post(path, json=body)
        assert (reply.headers["x-cache"], reply.headers.get("x-job-id")) == ("HIT", None)
        again = await client.post(path, json=body, headers={"idempotency-key": "k"})
        assert again.headers["x-cache"] == "HIT"
        await client.delete(f"/v1/jobs/{again.headers['x-job-id']}")
    assert await computed(deployment, body, path) not in (first, again.headers["x-job-id"])


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_an_answer_lives_on_as_each_key_of_its_caller_says(deployment: Deployment) -> None:
    brief, long = [(await made(deployment.app, "one", retain_s=s))["secret"] for s in (60, 86_400)]
    job = await computed(deployment, CHAT, **bearer(brief))
    client = deployment.worker.store.client
    async with client_of(deployment.app) as http:
        for key in (brief, long):
            assert client.ttl(f"sl9:{job}") <= 60
            await http.post(CHATS, json=CHAT, headers=bearer(key))
    assert client.ttl(f"sl9:{job}") > 86_000


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_cached_answers_use_up_a_key_s_quota_as_others_do(deployment: Deployment) -> None:
    key = (await made(deployment.app, "one", requests_per_minute=3))["secret"]
    await computed(deployment, CHAT, **bearer(key))
    async with client_of(deployment.app) as client:
        replies = [await client.post(CHATS, json=CHAT, headers=bearer(key)) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert [reply.headers.get("x-cache") for reply in replies] == ["HIT", "HIT", None]


async def test_an_answer_that_was_deleted_is_computed_again(deployment: Deployment) -> None:
    job = await computed(deployment, CHAT)
    async with client_of(deployment.app) as client:
        await client.delete(f"/v1/jobs/{job}")
    assert await computed(deployment, CHAT) != job


async def test_a_model_that_was_removed_elsewhere_answers_no_more(deployment: Deployment) -> None:
    await computed(deployment, CHAT)
    deployment.worker.store.run(models.remove(deployment.worker.model.lane))
    async with client_of(deployment.app) as client:
        reply = await client.post(CHATS, json=CHAT)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_full_store_gives_what_it_has(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await computed(deployment, CHAT)
    full = Unavailable("store_unavailable", "The record store is nearly full.", retry_after=1)
    monkeypatch.setattr("shared.store.headroom.Headroom.check", AsyncMock(side_effect=full))
    async with client_of(deployment.app) as client:
        known = await client.post(CHATS, json=CHAT)
        new = await client.post(CHATS, json=CHAT | {"seed": 2})
    assert [reply.status_code for reply in (known, new)] == [200, 503]
