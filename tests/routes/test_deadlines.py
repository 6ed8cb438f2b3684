"""A job's times, pauses and estimates, as they leave the service."""

import json
import time
from types import SimpleNamespace

import pytest

from api.admission import submission
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import posted
from tests.support.clients import until_async

MODEL = "sightline/tiny"
JOB = {"model": MODEL, "messages": [{"role": "user", "content": "What is this?"}]}
CHATS = "/v1/chat/completions"


def _now(deployment: Deployment) -> int:
    return int(deployment.worker.store.client.time()[0])


async def _jobs(deployment: Deployment, count: int) -> None:
    async with client_of(deployment.app) as client:

        async def there() -> bool:
            return len((await client.get("/v1/jobs")).json()["data"]) == count

        await until_async(there)


async def test_a_synchronous_caller_who_joined_outlives_the_deadline_of_the_first(
    deployment: Deployment,
) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        hurried = (await client.post("/v1/jobs", json=JOB | {"finish_by": _now(deployment) + 60})).json()
        patient = posted(deployment.app, JOB)
        await _jobs(deployment, 2)
        claim = deployment.worker.take()
        deployment.worker.let_pass(61)
        late = (await client.get(hurried["urls"]["self"])).json()
        deployment.worker.succeed(claim, "A cat.")
        await patient.finish()

    assert (late["status"], late["error"]["code"], late["error"]["param"]) == (
        "failed",
        "deadline_exceeded",
        "finish_by",
    )
    assert (patient.status, patient.headers["x-cache"]) == (200, "COALESCED")


async def test_a_deadline_is_told_to_who_waits_for_the_job_and_to_who_follows_it(
    deployment: Deployment,
) -> None:
    deployment.worker.beat()
    body = JOB | {"start_by": _now(deployment) + 60}
    waiting = posted(deployment.app, body, "/v1/jobs", prefer="wait=30")
    await _jobs(deployment, 1)
    deployment.worker.let_pass(61)
    await waiting.finish()
    told = json.loads(waiting.body)
    async with client_of(deployment.app) as client:
        story = (await client.get(told["urls"]["events"])).text

    assert (waiting.status, told["status"]) == (200, "failed")
    assert told["error"] == {
        "code": "deadline_exceeded",
        "message": "The job had not begun in time.",
        "param": "start_by",
        "retryable": True,
    }
    assert told["error"]["code"] in story.split("\n\n")[-2]


@pytest.mark.parametrize("path", [CHATS, "/models/sightline/tiny"])
async def test_a_synchronous_caller_whose_own_wait_in_line_is_over_is_told_when_to_come_back(
    deployment: Deployment, path: str
) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, JOB if path == CHATS else {"inputs": "What is this?"}, path)
    await _jobs(deployment, 1)
    deployment.worker.let_pass(deployment.worker.settings.queue.start_by_s + 1)
    await call.finish()

    assert (call.status, call.headers["retry-after"]) == (504, "1")
    assert "deadline_exceeded" in call.body.decode()


async def test_a_scheduled_job_says_its_time_and_begins_then(deployment: Deployment) -> None:
    deployment.worker.beat()
    at = _now(deployment) + 3600
    async with client_of(deployment.app) as client:
        reply = await client.post("/v1/jobs", json=JOB | {"schedule_at": at})
        job = reply.json()
        assert deployment.worker.idle()
        deployment.worker.let_pass(3601)
        deployment.worker.take_in()
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        done = (await client.get(job["urls"]["self"])).json()

    assert (job["status"], job["waiting_reason"], job["schedule_at"]) == ("queued", "scheduled", at)
    assert "estimate" not in job
    assert reply.headers["retry-after"] == "59"
    assert done["status"] == "succeeded"


async def test_when_to_ask_for_a_scheduled_job_is_told_by_the_store_s_clock(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = time.time()
    monkeypatch.setattr("time.time", lambda: here + 7200)
    async with client_of(deployment.app) as client:
        reply = await client.post("/v1/jobs", json=JOB | {"schedule_at": _now(deployment) + 3600})

    assert (reply.json()["waiting_reason"], reply.headers["retry-after"]) == ("scheduled", "59")


async def test_a_scheduled_job_outlives_the_way_back_to_a_version_that_counts_no_rows(
    deployment: Deployment,
) -> None:
    """Its courier refuses names that it does not know."""
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        one = JOB | {"schedule_at": _now(deployment) + 3600}
        several = one | {"parameters": {"n": 2, "temperature": 1.0}}
        made = [(await client.post("/v1/jobs", json=asked)).json()["id"] for asked in (one, several)]
    held = [json.loads(deployment.worker.store.client.hget(f"sl8:{job}", "terms")) for job in made]
    assert held[0].keys() == {"lane", "revision", "priority", "cost", "room", "reuse"}
    assert held[1]["rows"] == 2


@pytest.mark.parametrize(("wrong_s", "start_by_s", "status"), [(3600, 600, 202), (-3600, -60, 400)])
async def test_a_deadline_is_good_or_past_by_the_store_s_clock_whatever_this_machine_s_says(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, wrong_s: int, start_by_s: int, status: int
) -> None:
    deployment.worker.beat()
    right = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: right() + wrong_s * 10**9)
    async with client_of(deployment.app) as client:
        answer = await client.post("/v1/jobs", json=JOB | {"start_by": _now(deployment) + start_by_s})
    assert answer.status_code == status, answer.text


async def test_a_deadline_that_passed_since_the_store_s_clock_was_read_is_past(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.worker.beat()
    monkeypatch.setattr(submission, "LANE_FACTS_S", 3600)
    async with client_of(deployment.app) as client:
        first = await client.post("/v1/jobs", json=JOB)
        later = time.monotonic() + 60
        monkeypatch.setattr(submission, "time", SimpleNamespace(monotonic=lambda: later))
        late = await client.post("/v1/jobs", json=JOB | {"start_by": _now(deployment) + 30})

    assert (first.status_code, late.status_code) == (202, 400)


async def test_times_are_read_in_both_spellings(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB | {"start_by": _now(deployment) + 60.5})).json()
        text = (await client.post("/v1/jobs", json=JOB | {"finish_by": "2020-01-31T12:00:00"})).json()

    assert job["start_by"] % 1 == 0.5
    assert (text["code"], text["param"]) == ("invalid_request", "finish_by")
    assert "offset" in text["detail"]


async def test_a_waiting_job_says_when_it_will_begin_and_a_running_one_does_not(
    deployment: Deployment,
) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        first, second = [
            (await client.post("/v1/jobs", json=JOB, headers={"x-use-cache": "false"})).json()
            for _ in range(2)
        ]
        deployment.worker.take()
        running = (await client.get(first["urls"]["self"])).json()

    assert set(second["estimate"]) == {"p50", "p90", "service_s", "basis"}
    assert 0 < second["estimate"]["p50"] <= second["estimate"]["p90"]
    assert (second["waiting_reason"], second["ahead"], second["estimate"]["basis"]) == ("busy", 1, "measured")
    assert not {"waiting_reason", "ahead", "estimate"} & running.keys()


async def test_a_paused_model_promises_no_time_and_goes_on_where_it_stopped(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        await client.post(f"/v1/admin/models/{MODEL}/pause")
        reply = await client.post("/v1/jobs", json=JOB)
        status = (await client.get(f"/status/{MODEL}")).json()
        health = await client.get(f"/models/{MODEL}/health")
        await client.post(f"/v1/admin/models/{MODEL}/resume")
        resumed = (await client.get(reply.json()["urls"]["self"])).json()

    assert (reply.json()["waiting_reason"], reply.headers["retry-after"]) == ("paused", "59")
    assert "estimate" not in reply.json()
    assert (status["paused"], status["queued"], health.status_code) == (True, 1, 503)
    assert resumed["waiting_reason"] == "busy"
    deployment.worker.take()
