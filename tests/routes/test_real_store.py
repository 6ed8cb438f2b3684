"""The whole way from a client's bytes to the record store and back."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from shared.store import jobs as transitions
from shared.store.nudges import AsyncNudger
from tests.routes.conftest import PLACES_IN_LINE, Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import data, posted
from tests.support.clients import until_async
from tests.support.stored import forget_answers

JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What is this?"}]}
STREAM = {**CHAT, "stream": True}
INPUTS = {"inputs": "What is this?"}
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
        again = await client.post("/v1/jobs", json=JOB)

    assert (job["status"], job["cache"], joined.headers["x-cache"]) == ("queued", "MISS", "COALESCED")
    assert (done["status"], done["result"]["text"]) == ("succeeded", "A cat.")
    assert [r.headers["x-cache"] for r in (chat, stream, raw, again)] == ["HIT"] * 4
    assert chat.json()["choices"][0]["message"]["content"] == "A cat."
    assert data(stream.content)[1]["choices"][0]["delta"]["content"] == "A cat."
    assert raw.json() == [{"generated_text": "A cat."}]
    assert (again.status_code, again.json()["status"]) == (202, "succeeded")


async def test_no_nudge_is_sent_for_a_run_with_as_many_before_it_as_are_listed(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    nudged: list[Sequence[str]] = []
    monkeypatch.setattr(AsyncNudger, "send", lambda _, lanes: nudged.append(lanes))
    monkeypatch.setattr("api.admission.submission.MOST", 1)
    async with client_of(deployment.app) as client:
        for priority in ("normal", "batch", "interactive"):
            reply = await client.post("/v1/jobs", json={**JOB, "priority": priority, "store": False})
            assert reply.status_code == 202

    assert nudged == [[deployment.worker.model.lane]] * 2


@pytest.mark.parametrize("path", [CHATS, HF])
async def test_a_model_without_a_worker_is_503_with_a_time(deployment: Deployment, path: str) -> None:
    async with client_of(deployment.app) as client:
        response = await client.post(path, json=CHAT if path == CHATS else INPUTS)
        accepted = await client.post("/v1/jobs", json=JOB)

    assert (response.status_code, response.headers["content-type"]) == (503, "application/json")
    assert response.json()["estimated_time"] >= 1
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert (accepted.status_code, accepted.json()["waiting_reason"]) == (202, "no_worker")


async def test_a_caller_who_waits_for_the_model_is_answered_when_it_comes(deployment: Deployment) -> None:
    call = posted(deployment.app, CHAT, x_wait_for_model="true")
    await _queued(deployment)
    deployment.worker.beat()
    deployment.worker.succeed(deployment.worker.take(), "A cat.")
    await call.finish()

    assert (call.status, call.headers["x-cache"]) == (200, "MISS")
    assert json.loads(call.body)["choices"][0]["message"]["content"] == "A cat."


async def test_a_stream_tells_each_piece_as_it_is_written(deployment: Deployment) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, STREAM)
    await _queued(deployment)
    claim = deployment.worker.take()
    deployment.worker.say(claim, "A ")
    await call.until(lambda e: b'"A "' in e.body)
    deployment.worker.say(claim, "cat.", start=2)
    deployment.worker.succeed(claim, "A cat.")
    await call.finish()

    assert "".join(c["choices"][0]["delta"]["content"] for c in data(call.body)[:-1]) == "A cat."
    assert data(call.body)[-1] == "[DONE]"


@pytest.mark.parametrize(("path", "body"), [(CHATS, CHAT), (CHATS, STREAM), (HF, INPUTS)])
async def test_a_caller_who_hangs_up_empties_the_line(
    deployment: Deployment, path: str, body: dict[str, Any]
) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, body, path)
    await _queued(deployment)
    call.hang_up()
    await call.finish()
    await _ended(deployment, "cancelled")

    assert deployment.worker.idle()


async def test_a_caller_who_hangs_up_leaves_the_others_their_run(deployment: Deployment) -> None:
    deployment.worker.beat()
    leaving, staying = posted(deployment.app, CHAT), posted(deployment.app, CHAT)
    await _queued(deployment, jobs=2)
    leaving.hang_up()
    await leaving.finish()
    await _ended(deployment, "cancelled")
    deployment.worker.succeed(deployment.worker.take(), "A cat.")
    await staying.finish()

    assert staying.status == 200


async def test_a_failed_run_is_its_waiting_callers_error(deployment: Deployment) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, INPUTS, HF)
    await _queued(deployment)
    deployment.worker.fail(deployment.worker.take(), "context_length_exceeded", "Too long.")
    await call.finish()

    assert (call.status, json.loads(call.body)["error_type"]) == (400, "context_length_exceeded")


async def test_a_key_names_one_job_and_another_body_is_a_mismatch(deployment: Deployment) -> None:
    key = {"idempotency-key": "k-1"}
    async with client_of(deployment.app) as client:
        first = await client.post("/v1/jobs", json=JOB, headers=key)
        same = await client.post("/v1/jobs", json=JOB, headers=key)
        other = await client.post("/v1/jobs", json={**JOB, "priority": "batch"}, headers=key)
        await client.delete(first.json()["urls"]["self"])
        purged = await client.post("/v1/jobs", json=JOB, headers=key)

    assert (first.status_code, same.status_code) == (202, 202)
    assert first.json()["id"] == same.json()["id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert (purged.status_code, purged.json()["code"]) == (410, "job_purged")


async def test_a_reader_who_comes_back_after_the_end_gets_exactly_the_rest(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
        claim = deployment.worker.take()
        deployment.worker.say(claim, "A ")
        deployment.worker.say(claim, "cat.", start=2)
        deployment.worker.succeed(claim, "A cat.")
        whole = (await client.get(job["urls"]["events"])).text.split("\n\n")
        stories = [
            (await client.get(job["urls"]["events"], headers={"last-event-id": str(seen)})).text
            for seen in range(len(whole))
        ]

    assert [block.split("\n")[0] for block in whole] == ["id: 1", "id: 2", "id: 3", "id: 4", "id: 5", ""]
    assert stories == ["\n\n".join(whole[seen:]) for seen in range(len(whole))]


async def test_the_story_of_a_job_cancelled_by_itself_can_be_read_again_to_its_end(
    deployment: Deployment,
) -> None:
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
        await client.post("/v1/jobs", json=JOB)
        await client.post(job["urls"]["cancel"])
        whole = (await client.get(job["urls"]["events"])).text.split("\n\n")
        stories = [
            (await client.get(job["urls"]["events"], headers={"last-event-id": str(seen)})).text
            for seen in range(len(whole))
        ]

    assert [block.split("\n")[1] for block in whole[:-1]] == ["event: queued", "event: cancelled"]
    assert stories == ["\n\n".join(whole[seen:]) for seen in range(len(whole))]


async def test_a_full_line_refuses_at_every_door_and_says_when_to_come_back(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        for number in range(PLACES_IN_LINE):
            asked = {"model": JOB["model"], "input": {"prompt": f"Question {number}"}}
            assert (await client.post("/v1/jobs", json=asked)).status_code == 202
        job = await client.post("/v1/jobs", json=JOB)
        chat = await client.post(CHATS, json=CHAT)
        raw = await client.post(HF, json=INPUTS)
        joined = await client.post("/v1/jobs", json=asked)

    assert [r.status_code for r in (job, chat, raw, joined)] == [503, 503, 503, 202]
    assert job.json()["code"] == chat.json()["error"]["code"] == raw.json()["error_type"] == "queue_full"
    assert all(1 <= int(r.headers["retry-after"]) <= 60 for r in (job, chat, raw))


async def test_a_result_that_is_no_longer_kept_is_410_not_an_empty_answer(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        forget_answers(deployment.worker.store.client)
        late = await client.get(job["urls"]["self"])
        again = await client.post("/v1/jobs", json=JOB)

    assert (late.status_code, late.json()["code"], late.json()["retryable"]) == (410, "result_expired", False)
    assert (again.status_code, again.headers["x-cache"]) == (202, "MISS")


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


async def test_beside_another_release_s_records_the_service_is_not_ready_and_takes_nothing(
    deployment: Deployment,
) -> None:
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


async def _queued(deployment: Deployment, jobs: int = 1) -> None:
    """Until that many jobs are queued, asked as a client would."""
    await _listed(deployment, "queued", jobs)


async def _ended(deployment: Deployment, status: str) -> None:
    await _listed(deployment, status, 1)


async def _listed(deployment: Deployment, status: str, count: int) -> None:
    async with client_of(deployment.app) as client:

        async def listed() -> bool:
            found = (await client.get("/v1/jobs", params={"status": status})).json()["data"]
            return len(found) >= count

        await until_async(listed)


@pytest.mark.parametrize(
    "name", ["lease", "workers", "queue:model.sightline--tiny", "job_1", "job_" + "A" * 32, "%00"]
)
async def test_a_jobs_path_reaches_no_other_record(deployment: Deployment, name: str) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        await client.post("/v1/jobs", json=JOB)
        deployment.worker.take()
        answers = [
            await client.get(f"/v1/jobs/{name}"),
            await client.get(f"/v1/jobs/{name}/events"),
            await client.post(f"/v1/jobs/{name}/cancel"),
            await client.delete(f"/v1/jobs/{name}"),
            await client.get("/v1/jobs", params={"after": name}),
        ]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(404, "job_not_found")] * 5


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHATS, {**CHAT, "messages": [{"role": "user", "content": "x" * 1_100_000}]}, "messages"),
        (HF, {"inputs": "x" * 1_100_000}, "inputs"),
        (CHATS, {**CHAT, "min_tokens": 4096}, "min_tokens"),
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


@pytest.mark.parametrize("wanted", [4096, 16384, -1])
@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        (CHATS, CHAT, "max_tokens"),
        (CHATS, CHAT, "max_completion_tokens"),
        ("/v1/completions", {"model": CHAT["model"], "prompt": "x"}, "max_tokens"),
        ("/v1/responses", {"model": CHAT["model"], "input": "x"}, "max_output_tokens"),
        (HF, INPUTS, "max_new_tokens"),
        ("/v1/jobs", JOB, "max_tokens"),
    ],
)
async def test_an_ocr_tools_default_length_is_lowered_to_what_the_model_has(
    deployment: Deployment, path: str, body: dict[str, Any], name: str, wanted: int
) -> None:
    deployment.worker.beat(context_length="4096")

    async def waits() -> bool:
        return not deployment.worker.idle()

    nested = path in (HF, "/v1/jobs")
    sent = {**body, "parameters": {name: wanted}} if nested else {**body, name: wanted}
    async with client_of(deployment.app) as client, asyncio.TaskGroup() as tasks:
        call = tasks.create_task(client.post(path, json=sent))
        await until_async(waits)
        claim = deployment.worker.take()
        deployment.worker.succeed(claim, "a dog")
        response = await call
    assert response.status_code in (200, 202), response.text
    assert json.loads(claim.request)["parameters"]["max_new_tokens"] == 4095


async def test_a_list_of_what_is_rare_does_not_ask_the_store_for_every_other_job(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, pages = transitions.jobs, list[str | None]()

    def counted(*said: Any, after: str | None, **how: Any) -> Any:
        pages.append(after)
        return read(*said, after=after, **how)

    monkeypatch.setattr(transitions, "jobs", counted)
    async with client_of(deployment.app) as client:
        for _ in range(6):
            await client.post("/v1/jobs", json=JOB)
        listed = await client.get("/v1/jobs", params={"status": "failed", "limit": 1})
    assert (listed.json()["data"], listed.json()["has_more"]) == ([], False)
    assert pages == [None]
