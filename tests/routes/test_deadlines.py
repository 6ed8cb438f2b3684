"""A job's times, pauses and estimates, as they leave the service."""

import json
import time
from types import SimpleNamespace

import pytest

from api.admission import submission
from tests.routes.conftest import Stage
from tests.support.app import client_of
from tests.support.asgi_exchange import posted
from tests.support.clients import until_async

MODEL = "sightline/tiny"
JOB = {"model": MODEL, "messages": [{"role": "user", "content": "What is this?"}]}
CHATS = "/v1/chat/completions"


def _now(stage: Stage) -> int:
    return int(stage.hand.store.client.time()[0])


async def _jobs(stage: Stage, count: int) -> None:
    async with client_of(stage.app) as client:

        async def there() -> bool:
            return len((await client.get("/v1/jobs")).json()["data"]) == count

        await until_async(there)


async def test_a_synchronous_caller_who_joined_outlives_the_deadline_of_the_first(stage: Stage) -> None:
    stage.hand.beat()
    async with client_of(stage.app) as client:
        hurried = (await client.post("/v1/jobs", json=JOB | {"finish_by": _now(stage) + 60})).json()
        patient = posted(stage.app, JOB)
        await _jobs(stage, 2)
        claim = stage.hand.take()
        stage.hand.let_pass(61)
        late = (await client.get(hurried["urls"]["self"])).json()
        stage.hand.succeed(claim, "A cat.")
        await patient.finish()

    assert (late["status"], late["error"]["code"], late["error"]["param"]) == (
        "failed",
        "deadline_exceeded",
        "finish_by",
    )
    assert (patient.status, patient.headers["x-cache"]) == (200, "COALESCED")


async def test_a_deadline_is_told_to_who_waits_for_the_job_and_to_who_follows_it(stage: Stage) -> None:
    stage.hand.beat()
    body = JOB | {"start_by": _now(stage) + 60}
    waiting = posted(stage.app, body, "/v1/jobs", prefer="wait=30")
    await _jobs(stage, 1)
    stage.hand.let_pass(61)
    await waiting.finish()
    told = json.loads(waiting.body)
    async with client_of(stage.app) as client:
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
    stage: Stage, path: str
) -> None:
    stage.hand.beat()
    call = posted(stage.app, JOB if path == CHATS else {"inputs": "What is this?"}, path)
    await _jobs(stage, 1)
    stage.hand.let_pass(stage.hand.settings.queue.start_by_s + 1)
    await call.finish()

    assert (call.status, call.headers["retry-after"]) == (504, "1")
    assert "deadline_exceeded" in call.body.decode()


async def test_a_scheduled_job_says_its_time_and_begins_then(stage: Stage) -> None:
    stage.hand.beat()
    at = _now(stage) + 3600
    async with client_of(stage.app) as client:
        reply = await client.post("/v1/jobs", json=JOB | {"schedule_at": at})
        job = reply.json()
        assert stage.hand.idle()
        stage.hand.let_pass(3601)
        stage.hand.take_in()
        stage.hand.succeed(stage.hand.take(), "A cat.")
        done = (await client.get(job["urls"]["self"])).json()

    assert (job["status"], job["waiting_reason"], job["schedule_at"]) == ("queued", "scheduled", at)
    assert "estimate" not in job
    assert reply.headers["retry-after"] == "59"
    assert done["status"] == "succeeded"


async def test_when_to_ask_for_a_scheduled_job_is_told_by_the_store_s_clock(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = time.time()
    monkeypatch.setattr("time.time", lambda: here + 7200)
    async with client_of(stage.app) as client:
        reply = await client.post("/v1/jobs", json=JOB | {"schedule_at": _now(stage) + 3600})

    assert (reply.json()["waiting_reason"], reply.headers["retry-after"]) == ("scheduled", "59")


async def test_a_scheduled_job_outlives_the_way_back_to_a_version_that_counts_no_rows(stage: Stage) -> None:
    """Its courier refuses names that it does not know."""
    stage.hand.beat()
    async with client_of(stage.app) as client:
        one = JOB | {"schedule_at": _now(stage) + 3600}
        several = one | {"parameters": {"n": 2, "temperature": 1.0}}
        made = [(await client.post("/v1/jobs", json=asked)).json()["id"] for asked in (one, several)]
    held = [json.loads(stage.hand.store.client.hget(f"sl5:{job}", "terms")) for job in made]
    assert held[0].keys() == {"lane", "revision", "priority", "cost", "room", "reuse"}
    assert held[1]["rows"] == 2


@pytest.mark.parametrize(("wrong_s", "start_by_s", "status"), [(3600, 600, 202), (-3600, -60, 400)])
async def test_a_deadline_is_good_or_past_by_the_store_s_clock_whatever_this_machine_s_says(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, wrong_s: int, start_by_s: int, status: int
) -> None:
    stage.hand.beat()
    right = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: right() + wrong_s * 10**9)
    async with client_of(stage.app) as client:
        answer = await client.post("/v1/jobs", json=JOB | {"start_by": _now(stage) + start_by_s})
    assert answer.status_code == status, answer.text


async def test_a_deadline_that_passed_since_the_store_s_clock_was_read_is_past(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.hand.beat()
    monkeypatch.setattr(submission, "LANE_FACTS_S", 3600)
    async with client_of(stage.app) as client:
        first = await client.post("/v1/jobs", json=JOB)
        later = time.monotonic() + 60
        monkeypatch.setattr(submission, "time", SimpleNamespace(monotonic=lambda: later))
        late = await client.post("/v1/jobs", json=JOB | {"start_by": _now(stage) + 30})

    assert (first.status_code, late.status_code) == (202, 400)


async def test_times_are_read_in_both_spellings(stage: Stage) -> None:
    async with client_of(stage.app) as client:
        job = (await client.post("/v1/jobs", json=JOB | {"start_by": _now(stage) + 60.5})).json()
        text = (await client.post("/v1/jobs", json=JOB | {"finish_by": "2020-01-31T12:00:00"})).json()

    assert job["start_by"] % 1 == 0.5
    assert (text["code"], text["param"]) == ("invalid_request", "finish_by")
    assert "offset" in text["detail"]


async def test_a_waiting_job_says_when_it_will_begin_and_a_running_one_does_not(stage: Stage) -> None:
    stage.hand.beat()
    async with client_of(stage.app) as client:
        first, second = [
            (await client.post("/v1/jobs", json=JOB, headers={"x-use-cache": "false"})).json()
            for _ in range(2)
        ]
        stage.hand.take()
        running = (await client.get(first["urls"]["self"])).json()

    assert set(second["estimate"]) == {"p50", "p90", "service_s", "basis"}
    assert 0 < second["estimate"]["p50"] <= second["estimate"]["p90"]
    assert (second["waiting_reason"], second["ahead"], second["estimate"]["basis"]) == ("busy", 1, "measured")
    assert not {"waiting_reason", "ahead", "estimate"} & running.keys()


async def test_a_paused_model_promises_no_time_and_goes_on_where_it_stopped(stage: Stage) -> None:
    stage.hand.beat()
    async with client_of(stage.app) as client:
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
    stage.hand.take()
