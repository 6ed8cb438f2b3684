"""The whole way from a client's bytes to the record store and back."""

import json
from typing import Any

import pytest

from api.admission.submission import CheckedRequest, Submission
from shared.store.acknowledgement import StoreUnreachable
from shared.store.admission import Submitted
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import data, posted
from tests.support.clients import until_async

JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What is this?"}]}
STREAM = {**CHAT, "stream": True}
INPUTS = {"inputs": "What is this?"}
RESPONSE = {"model": "sightline/tiny", "input": "What is this?"}
HF = "/models/sightline/tiny"
CHATS = "/v1/chat/completions"


async def test_one_computation_answers_every_door_in_its_own_words(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
        joined = await client.post("/v1/jobs", json=JOB)
        claim = deployment.worker.take()
        assert deployment.worker.idle()
        deployment.worker.say(claim, "A cat.")
        deployment.worker.succeed(claim, "A cat.")
        done = (await client.get(job["urls"]["self"])).json()
        chat = await client.post(CHATS, json=CHAT)
        stream = await client.post(CHATS, json=STREAM)
        raw = await client.post(HF, json=INPUTS)
        response = await client.post("/v1/responses", json=RESPONSE)
        again = await client.post("/v1/jobs", json=JOB)

    assert (job["status"], job["cache"], joined.headers["x-cache"]) == ("queued", "MISS", "COALESCED")
    assert (done["status"], done["result"]["text"]) == ("succeeded", "A cat.")
    assert [r.headers["x-cache"] for r in (chat, stream, raw, response, again)] == ["HIT"] * 5
    assert chat.json()["choices"][0]["message"]["content"] == "A cat."
    assert data(stream.content)[1]["choices"][0]["delta"]["content"] == "A cat."
    assert raw.json() == [{"generated_text": "A cat."}]
    assert (again.status_code, again.json()["status"]) == (202, "succeeded")


async def test_without_its_store_the_service_says_so_and_lives(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        deployment.server.kill()
        try:
            health = await client.get("/health")
            jobs = await client.post("/v1/jobs", json=JOB)
            chat = await client.post(CHATS, json=CHAT)
            ready = await client.get("/ready")
        finally:
            deployment.server.start()
        recovered = await client.post("/v1/jobs", json=JOB)

    told = {"status": "ok", "store": "unreachable", "blobs": {"kind": "folder", "state": "reachable"}}
    assert (health.status_code, health.json()) == (200, told)
    assert (jobs.status_code, jobs.json()["code"]) == (503, "store_unavailable")
    assert (chat.status_code, chat.json()["error"]["code"]) == (503, "store_unavailable")
    assert (ready.status_code, recovered.status_code) == (503, 202)


async def test_a_job_whose_caller_never_learns_that_it_was_taken_is_computed_for_nobody(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_request, lost = Submission._store_request, StoreUnreachable()
    lost.retry_after = 0

    async def without_reply(self: Submission, checked: CheckedRequest) -> Submitted:
        await store_request(self, checked)
        raise lost

    monkeypatch.setattr(Submission, "_store_request", without_reply)
    deployment.worker.beat()
    async with client_of(deployment.app) as http:

        async def jobs(status: str) -> bool:
            return len((await http.get("/v1/jobs", params={"status": status})).json()["data"]) == 1

        assert (await http.post(CHATS, json=CHAT)).status_code == 503
        await until_async(lambda: jobs("cancelled"))
        other = CHAT | {"max_tokens": 5}
        with_key = await http.post(CHATS, json=other, headers={"idempotency-key": "k"})
        assert with_key.status_code == 503
        assert await jobs("queued")


async def test_beside_another_release_s_records_the_service_takes_nothing(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        records = deployment.worker.store.client
        records.hset("sightline", mapping={"layout": 99, "id": "theirs"})
        records.client_kill_filter(_type="normal", skipme=True)
        before = records.dbsize()
        ready, jobs = await client.get("/ready"), await client.post("/v1/jobs", json=JOB)
        assert records.dbsize() == before
        records.delete("sightline")

    assert (ready.status_code, jobs.status_code, jobs.json()["code"]) == (503, 503, "store_unavailable")
    assert "records of layout 99" in ready.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHATS, {**CHAT, "messages": [{"role": "user", "content": "x" * 1_100_000}]}, "messages"),
        (HF, {**INPUTS, "parameters": {"min_new_tokens": 4096}}, "parameters.min_new_tokens"),
    ],
)
async def test_what_cannot_fit_the_model_is_refused_before_it_is_stored(
    deployment: Deployment, path: str, body: dict[str, Any], param: str
) -> None:
    deployment.worker.beat(context_length="4096")
    async with client_of(deployment.app) as client:
        response = await client.post(path, json=body)
        jobs = (await client.get("/v1/jobs")).json()["data"]

    assert (response.status_code, jobs) == (400, [])
    assert "context_length_exceeded" in response.text
    assert param in response.text


@pytest.mark.parametrize("wanted", [4096, -1])
@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        (CHATS, CHAT, "max_tokens"),
        (CHATS, CHAT, "max_completion_tokens"),
        ("/v1/responses", RESPONSE, "max_output_tokens"),
        (HF, INPUTS, "max_new_tokens"),
        ("/v1/jobs", JOB, "max_tokens"),
    ],
)
async def test_an_ocr_tools_default_length_is_lowered_to_what_the_model_has(
    deployment: Deployment, path: str, body: dict[str, Any], name: str, wanted: int
) -> None:
    deployment.worker.beat(context_length="4096")
    nested = path in (HF, "/v1/jobs")
    sent = {**body, "parameters": {name: wanted}} if nested else {**body, name: wanted}
    call = posted(deployment.app, sent, path)
    claim = await deployment.worker.taken()
    deployment.worker.succeed(claim, "a dog")
    await call.finish()
    assert call.status in (200, 202), call.body
    assert json.loads(claim.request)["parameters"]["max_new_tokens"] == 4095


@pytest.mark.parametrize("end", ["succeeded", "cancelled"])
async def test_the_story_of_a_job_can_be_read_again_from_any_place(deployment: Deployment, end: str) -> None:
    """Also of one that was cancelled by itself, while its run goes on for another."""
    worker = deployment.worker
    worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
        await client.post("/v1/jobs", json=JOB)
        if end == "cancelled":
            await client.post(job["urls"]["cancel"])
        claim = worker.take()
        worker.say(claim, "A ")
        worker.say(claim, "cat.", start=2)
        worker.succeed(claim, "A cat.")
        whole = (await client.get(job["urls"]["events"])).text.split("\n\n")
        stories = [
            (await client.get(job["urls"]["events"], headers={"last-event-id": str(seen)})).text
            for seen in range(len(whole))
        ]

    told = ["queued", "running", "text", "text", end] if end == "succeeded" else ["queued", end]
    assert [block.split("\n")[:2] for block in whole[:-1]] == [
        [f"id: {number}", f"event: {kind}"] for number, kind in enumerate(told, 1)
    ]
    assert stories == ["\n\n".join(whole[seen:]) for seen in range(len(whole))]
