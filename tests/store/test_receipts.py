"""Receipts: which run gave an answer, for whom it was begun, and when."""

import json
from typing import Any

from shared.job import Computed
from shared.result import Origin
from tests.support.existing import existing
from tests.support.store import START_MS, Records, answer


def answered(records: Records, question: str = "q", **changes: str) -> str:
    """A job that waited a second, said its first word after another and its last after a third."""
    job = records.submit(question, **changes).id
    records.wait(1)
    claim = records.claim()
    records.wait(1)
    records.append(claim, 0, "A ")
    records.wait(1)
    records.append(claim, 2, "cat")
    records.settle(claim)
    return job


def test_a_receipt_tells_the_run_and_its_moments(records: Records) -> None:
    records.beat()
    view = records.view(answered(records))
    assert view.computed == Computed(
        str(view.run_id),
        job=view.id,
        queued_ms=START_MS,
        started_ms=START_MS + 1000,
        first_text_ms=START_MS + 2000,
        ended_ms=START_MS + 3000,
        attempts=1,
    )
    assert view.request_hash == "q"


def test_a_cached_and_a_shared_answer_tell_whose_run_it_was(records: Records) -> None:
    records.beat()
    first = records.submit("q")
    second = records.submit("q")
    records.settle(records.claim())
    third = records.submit("q")
    computed = [records.view(job.id).computed for job in (first, second, third)]
    assert [job.cache for job in (first, second, third)] == ["MISS", "COALESCED", "HIT"]
    assert computed == [computed[0]] * 3
    assert computed[0] is not None
    assert computed[0].job == first.id


def test_a_run_of_another_caller_does_not_tell_their_job(records: Records) -> None:
    records.beat()
    placing = records.placing("q", key="everybody:q")
    records.post(placing)
    records.settle(records.claim())
    other = records.accept(records.placing("q", key="everybody:q", caller="somebody"))
    computed = records.view(other.id, "somebody").computed
    assert other.cache == "HIT"
    assert computed is not None
    assert (computed.run, computed.job) == (placing.job, None)


def test_attempts_are_counted_over_the_run_s_whole_life(records: Records) -> None:
    records.beat()
    job = records.submit("q").id
    records.give_back(records.claim())
    claim = records.claim()
    records.append(claim, 0, "A")
    first = records.now
    records.wait(1)
    records.give_back(claim)
    records.settle(records.claim())
    computed = existing(records.view(job).computed)
    assert (computed.attempts, computed.first_text_ms) == (3, first)


def test_what_made_an_answer_is_told_by_its_receipt_and_is_in_no_older_api_s_way(records: Records) -> None:
    records.beat()
    origin = Origin(made_of={"engine": "echo"}, parameters={"seed": 7})
    first = records.placing("q")
    records.post(first)
    records.settle(records.claim(), answer().model_copy(update={"origin": origin}))
    later = records.submit("q").id
    results = [records.view(job).result for job in (first.job, later)]
    assert [result and result.origin for result in results] == [origin, origin]
    result = json.loads(records.field(f"{first.job}:answer", "result"))
    assert result.keys() == {"choices", "usage", "fingerprint", "compute_s"}


def added(value: Any) -> Any:
    """With a field that this release does not know, at every depth."""
    if isinstance(value, list):
        return [added(item) for item in value]
    if isinstance(value, dict):
        return {name: added(item) for name, item in value.items()} | {"novel": 1}
    return value


def test_what_a_newer_worker_tells_is_read_by_an_older_api(records: Records) -> None:
    job = records.submit("q")
    waiting = records.submit("other")
    records.settle(records.claim())
    key, plain = f"sl9:{job.run_id}:answer", records.view(job.id).result
    newer = added(json.loads(records.client.hget(key, "result"))) | {"syntax": "novel"}
    records.client.hset(key, "result", json.dumps(newer))
    page = records.listed()
    assert records.view(job.id).result == plain
    assert page is not None
    assert [view.id for view in page.views] == [waiting.id, job.id]
