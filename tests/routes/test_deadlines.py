"""A job's times, pauses and estimates, as they leave the service."""

import json
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


async def test_when_to_ask_for_a_scheduled_job_is_told_by_the_store_s_clock(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = time.time()
    monkeypatch.setattr("time.time", lambda: here + 7200)
    async with client_of(deployment.app) as client:
        reply = await client.post("/v1/jobs", json=JOB | {"schedule_at": _now(deployment) + 3600})

    assert (reply.json()["waiting_reason"], reply.headers["retry-after"]) == ("scheduled", "59")


async def test_a_scheduled_job_outlives_a_return_to_a_version_without_rows(deployment: Deployment) -> None:
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
