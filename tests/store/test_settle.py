"""Append, give back and settle: what a worker says of its run stays, for its time."""

from shared.job import AttemptError
from shared.result import JobError
from tests.support.store import FAILURE, LANE, SETTINGS, Records, answer


def test_the_end_is_kept_for_its_time_and_no_longer(records: Records) -> None:
    view = records.submit()
    claim = records.claim()
    records.append(claim, 0, "A red")
    records.settle(claim)
    assert records.life(view.id) == records.given(SETTINGS.retention.job_s)
    assert records.kept(view.id) == SETTINGS.retention.result_s
    left = records.client.ttl(f"sl9:{view.run_id}:events")
    assert left == records.given(SETTINGS.retention.result_s)
    records.wait(SETTINGS.retention.job_s)
    assert records.try_view(view.id) is None


def test_how_long_answers_take_is_measured(records: Records) -> None:
    for seconds in (2, 4):
        _, claim = records.started()
        # It waited for a row longer than it was computed.
        records.wait(60)
        records.settle(claim, answer().model_copy(update={"compute_s": float(seconds)}))
    assert float(records.client.hget(f"sl9:lane:{LANE}", "service_ms")) == 0.9 * 2000 + 0.1 * 4000


def test_a_piece_that_does_not_follow_on_is_refused_not_spliced(records: Records) -> None:
    job, claim = records.started()
    records.append(claim, 0, "one ")
    assert records.append(claim, 8, "three") == "lost"
    assert records.append(claim, 2, "e two") == "lost"
    assert [e.data["text"] for e in records.events(job) if e.type == "text"] == ["one "]


def test_each_failed_attempt_keeps_its_cause_cut_short(records: Records) -> None:
    job = records.submit().id
    records.give_back(records.claim())
    records.give_back(records.claim(), FAILURE, cause=JobError(code="internal_error", message="é" * 201))
    records.give_back(records.claim(), FAILURE)
    records.give_back(records.claim(), FAILURE)
    view = records.view(job)
    assert view.error == FAILURE
    assert [attempt.error for attempt in view.attempts] == [
        None,
        AttemptError("internal_error", "é" * 200),
        *[AttemptError(FAILURE.code, FAILURE.message)] * 2,
    ]


def test_lost_workers_return_takes_nothing_from_the_next(records: Records) -> None:
    job, late = records.started()
    records.lose_worker()
    claim = records.claim()
    assert records.give_back(late, FAILURE) is None
    assert records.settle(claim) == "settled"
    assert records.view(job).status == "succeeded"
