"""A job's times, pauses and estimates, as they leave the service."""

import time
from types import SimpleNamespace

import pytest

from api.admission import submission
from tests.routes.conftest import Deployment
from tests.support.app import client_of

MODEL = "sightline/tiny"
JOB = {"model": MODEL, "messages": [{"role": "user", "content": "What is this?"}]}


def _now(deployment: Deployment) -> int:
    return int(deployment.worker.store.client.time()[0])


async def test_schedule_at_is_refused_and_says_what_to_do(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        for path in ("/v1/jobs", "/v1/estimate"):
            reply = await client.post(path, json=JOB | {"schedule_at": _now(deployment) + 3600})
            problem = reply.json()
            assert (reply.status_code, problem["param"]) == (400, "schedule_at")
            assert problem["code"] == "unsupported_parameter"
            assert "submit the job when it is due, and bound its end by `finish_by`" in problem["detail"]


async def test_start_by_and_retain_s_are_ignored_and_named(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        reply = await client.post("/v1/jobs", json=JOB | {"start_by": 1, "retain_s": 60})
    assert reply.status_code == 202
    assert reply.headers["x-ignored-fields"] == "start_by,retain_s"


@pytest.mark.parametrize(
    ("wrong_s", "finish_by_s", "status"), [(3600, 600, 202), (-3600, -60, 400), (0, 30 * 86_400 + 60, 400)]
)
async def test_a_deadline_is_good_or_past_by_the_store_s_clock_whatever_this_machine_s_says(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, wrong_s: int, finish_by_s: int, status: int
) -> None:
    deployment.worker.beat()
    right = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: right() + wrong_s * 10**9)
    async with client_of(deployment.app) as client:
        answer = await client.post("/v1/jobs", json=JOB | {"finish_by": _now(deployment) + finish_by_s})
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
        late = await client.post("/v1/jobs", json=JOB | {"finish_by": _now(deployment) + 30})

    assert (first.status_code, late.status_code) == (202, 400)


async def test_a_waiting_job_says_when_it_will_begin_and_a_running_one_not(deployment: Deployment) -> None:
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
