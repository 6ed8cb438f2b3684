"""Each end of a job is told the log once, whoever ended it, while somebody reads it."""

import logging

import pytest

from shared.store import metrics
from shared.store.metrics import JobEnd
from tests.support.store import BROKEN, LANE, MODEL, Records
from worker.maintenance.passes import log_ends


def told(records: Records) -> dict[str, JobEnd]:
    return {report.job: report for report in records.run(metrics.job_ends())}


def test_nothing_is_kept_of_an_end_that_nobody_reads(records: Records) -> None:
    records.submit("a question")
    records.settle(records.claim())
    assert "sl8:ended" not in records.key_names()
    assert told(records) == {}


def test_a_job_s_end_says_who_asked_what_became_of_it_and_how_long_each_part_took(records: Records) -> None:
    assert told(records) == {}
    placing = records.placing("a question")
    records.post(placing, request_id="req_1")
    records.wait(2)
    claim = records.claim()
    records.wait(3)
    records.settle(claim)
    (report,) = told(records).values()
    assert (report.job, report.run, report.status, report.model) == (
        placing.job,
        claim.id,
        "succeeded",
        MODEL,
    )
    assert (report.caller, report.priority, report.cache) == ("anyone", "normal", "MISS")
    assert (report.request_id, report.attempt, report.code) == ("req_1", 1, None)
    assert (report.started_ms or 0) - report.created_ms == 2000
    assert report.ended_ms - (report.started_ms or 0) == 3000
    assert report.usage is not None
    assert (report.usage.prompt_tokens, report.usage.completion_tokens) == (9, 3)
    assert told(records) == {}


def test_every_way_to_end_is_told(records: Records) -> None:
    told(records)
    records.beat()
    failed, cancelled, shared, other = (records.submit(q).id for q in ("a", "b", "c", "c"))
    records.settle(records.claim(), BROKEN)
    records.cancel(cancelled)
    records.settle(records.claim())
    hit = records.submit("c").id
    pending = records.submit_pending().id
    records.fail_intake(records.claim_pending())
    found = told(records)
    assert {job: (report.status, report.code, report.cache) for job, report in found.items()} == {
        failed: ("failed", BROKEN.code, "MISS"),
        cancelled: ("cancelled", None, "MISS"),
        shared: ("succeeded", None, "MISS"),
        other: ("succeeded", None, "COALESCED"),
        hit: ("succeeded", None, "HIT"),
        pending: ("failed", BROKEN.code, None),
    }
    assert found[pending].run is None


def test_what_nobody_comes_for_any_more_is_not_kept_for_ever(records: Records) -> None:
    told(records)
    records.submit("a question")
    records.settle(records.claim())
    assert 0 < records.client.ttl("sl8:ended") <= 3600
    assert 0 < records.client.ttl("sl8:reading") <= metrics.READING_S


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


def test_what_keeps_a_job_out_of_the_line_is_no_wait_in_line(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    """Its schedule_at, and the fetching of its pictures."""
    told(records)
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
    with caplog.at_level(logging.INFO, "worker.maintenance"):
        log_ends(records.store)
    lines = [vars(record)["fields"] for record in caplog.records if record.message == "job ended"]
    assert {line["job"]: (line["wait_s"], line["run_s"]) for line in lines} == {
        job: (2, 1),
        cancelled: (0, 0),
    }


def test_ends_that_nobody_comes_for_do_not_fill_the_store(records: Records) -> None:
    told(records)
    most = 20_000
    records.client.rpush("sl8:ended", *["{}"] * most)
    job = records.submit("a question").id
    records.settle(records.claim())
    rows = records.client.lrange("sl8:ended", 0, -1)
    assert len(rows) == most
    assert job in rows[-1]
