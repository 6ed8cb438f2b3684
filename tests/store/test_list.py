"""List: pages, newest first, each job once."""

import pytest

from shared.store import jobs as transitions
from tests.support.store import Records, answer


def test_a_page_of_long_answers_is_short_and_goes_on_and_one_job_s_answer_is_never_too_long(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "PAGE_BYTES", 50_000)
    jobs: list[str] = []
    for size in (60_000, 20_000, 20_000):
        records.wait(1)
        jobs.append(records.submit(f"q{size}{len(jobs)}").id)
        records.settle(records.claim(), answer("x" * size))
    seen: list[list[str]] = []
    after = None
    while page := records.listed(after, 10):
        seen.append([view.id for view in page.views])
        assert page.bytes > sum(len(view.result.text) for view in page.views if view.result)
        if page.next is None:
            break
        after = page.next
    assert seen == [[jobs[2], jobs[1]], [jobs[0]]]


def test_long_questions_of_jobs_that_wait_for_their_pictures_leave_a_page_its_rows(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "PAGE_BYTES", 50_000)
    jobs = {records.submit_pending(request="x" * 60_000).id for _ in range(3)}
    page = records.listed(None, 10)
    assert ({view.id for view in page.views}, page.next) == (jobs, None)


def test_the_statuses_of_the_newest_jobs_are_their_caller_s_alone(records: Records) -> None:
    jobs = []
    for _ in range(3):
        records.wait(1)
        jobs.append(records.submit().id)
    records.settle(records.claim())
    records.claim()
    records.submit(caller="somebody")
    expected = {jobs[2]: "queued", jobs[1]: "running", jobs[0]: "succeeded"}
    assert records.run(transitions.statuses("anyone")) == (expected, None)
    records.client.hset(f"sl9:{jobs[2]}", "r", "unreadable")
    del expected[jobs[2]]
    assert records.run(transitions.statuses("anyone")) == (expected, None)


def test_jobs_submitted_while_a_list_is_read_shift_no_page(records: Records) -> None:
    jobs = []
    for _ in range(4):
        records.wait(1)
        jobs.append(records.submit().id)
    first = records.page(limit=2)
    records.wait(1)
    records.submit()
    assert first == jobs[:1:-1]
    assert records.page(jobs[2], limit=2) == jobs[1::-1]


def test_jobs_of_one_moment_are_each_listed_once(records: Records) -> None:
    jobs = {records.submit().id for _ in range(7)}
    seen: list[str] = []
    while page := records.page(seen[-1] if seen else None, limit=2):
        seen += page
    assert len(seen) == len(jobs)
    assert set(seen) == jobs
