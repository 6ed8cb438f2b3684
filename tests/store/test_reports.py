"""Each end of a job is logged once, by the process that ended it, where that logs such things."""

import logging
from typing import Any

import pytest

from shared.telemetry.logs import about
from tests.support.store import BROKEN, LANE, MODEL, SETTINGS, Records


@pytest.fixture
def told(records: Records, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    records.settings = SETTINGS.model_copy(update={"log_level": "info"})
    caplog.set_level(logging.INFO, "shared.jobs")
    return caplog


def lines(told: pytest.LogCaptureFixture) -> dict[str, dict[str, Any]]:
    """Those of jobs' ends, by job."""
    found = [vars(record)["fields"] for record in told.records if record.message == "job ended"]
    by_job = {line["job"]: line for line in found}
    assert len(by_job) == len(found)
    return by_job


def test_nothing_is_told_of_an_end_that_nobody_logs(records: Records, told: pytest.LogCaptureFixture) -> None:
    records.settings = SETTINGS
    records.submit("a question")
    records.settle(records.claim())
    assert lines(told) == {}


def test_a_job_s_end_says_who_asked_what_became_of_it_and_how_long_each_part_took(
    records: Records, told: pytest.LogCaptureFixture
) -> None:
    placing = records.placing("a question")
    records.post(placing, request_id="req_1")
    records.wait(2)
    claim = records.claim()
    records.wait(3)
    assert records.settle(claim) == "settled"
    assert lines(told) == {
        placing.job: {
            "request_id": "req_1",
            "job": placing.job,
            "run": claim.id,
            "attempt": 1,
            "model": MODEL,
            "caller": "anyone",
            "priority": "normal",
            "outcome": "succeeded",
            "cache": "MISS",
            "wait_s": 2,
            "run_s": 3,
            "prompt_tokens": 9,
            "completion_tokens": 3,
        }
    }


def test_an_end_is_told_by_its_own_request_and_not_by_that_which_ended_it(
    records: Records, told: pytest.LogCaptureFixture
) -> None:
    records.submit("a question")
    with about(request_id="req_of_another", trace_id="ab"):
        records.settle(records.claim())
    (line,) = lines(told).values()
    assert {"request_id", "trace_id"}.isdisjoint(line)


def test_every_way_to_end_is_told(records: Records, told: pytest.LogCaptureFixture) -> None:
    records.beat()
    failed, cancelled, shared, other = (records.submit(q).id for q in ("a", "b", "c", "c"))
    records.settle(records.claim(), BROKEN)
    view = records.cancel(cancelled)
    assert (view and view.status) == "cancelled"
    records.settle(records.claim())
    hit = records.submit("c").id
    pending = records.submit_pending().id
    records.fail_intake(records.claim_pending())
    found = lines(told)
    assert {job: (line["outcome"], line.get("code"), line.get("cache")) for job, line in found.items()} == {
        failed: ("failed", BROKEN.code, "MISS"),
        cancelled: ("cancelled", None, "MISS"),
        shared: ("succeeded", None, "MISS"),
        other: ("succeeded", None, "COALESCED"),
        hit: ("succeeded", None, "HIT"),
        pending: ("failed", BROKEN.code, None),
    }
    assert "run" not in found[pending]


def test_what_maintenance_ends_is_told_beside_its_reply(
    records: Records, told: pytest.LogCaptureFixture
) -> None:
    late = records.submit("too late").id
    records.wait(records.settings.queue.expire_s + 1)
    assert records.expire() == [late]
    assert lines(told)[late]["code"] == "deadline_exceeded"


def test_a_worker_is_told_whose_call_it_answers_and_how_long_that_waited(records: Records) -> None:
    records.post(records.placing("a question"), request_id="req_1", trace="00-ab-cd-01 shop=7")
    records.post(records.placing("a question"), request_id="req_2")
    records.wait(2)
    claim = records.claim(lane=LANE)
    assert (claim.request_id, claim.trace, claim.waited_ms) == ("req_1", "00-ab-cd-01 shop=7", 2000)
    assert (claim.model, claim.priority) == (MODEL, "normal")


def test_who_shares_a_computation_learns_the_trace_of_the_one_that_began_it(records: Records) -> None:
    records.beat()
    first = records.post(records.placing("a question"), trace="00-ab-cd-01")
    joined = records.post(records.placing("a question"), trace="00-ef-cd-01")
    records.settle(records.claim())
    hit = records.post(records.placing("a question"))
    assert [first.trace, joined.trace, hit.trace] == ["", "00-ab-cd-01", "00-ab-cd-01"]


def test_fetching_pictures_is_no_wait_in_line(records: Records, told: pytest.LogCaptureFixture) -> None:
    job = records.submit_pending().id
    records.wait(4)
    taken = records.claim_pending()
    records.admit(taken, "what")
    records.wait(2)
    claim = records.claim()
    records.wait(1)
    records.settle(claim)
    cancelled = records.submit_pending().id
    records.wait(5)
    records.cancel(cancelled)
    assert {job: (line["wait_s"], line["run_s"]) for job, line in lines(told).items()} == {
        job: (2, 1),
        cancelled: (0, 0),
    }
