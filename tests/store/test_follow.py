"""Follow: a stream can be read from anywhere, exactly, before and after the end."""

import pytest

from shared.job import LEAP
from shared.store import jobs
from shared.store.jobs import EVENT_PAGE_BYTES, EVENT_PAGE_LIMIT
from tests.support.existing import existing
from tests.support.redis_server import RedisServer
from tests.support.store import BROKEN, OTHER_PRINT, PRINT, SETTINGS, Records


def told(records: Records) -> str:
    """A job with every kind of event behind it."""
    job = records.submit().id
    first = records.claim()
    records.append(first, 0, "one ")
    records.lose_worker()
    second = records.claim()
    records.append(second, 4, "two")
    records.settle(second)
    return job


def left(records: Records) -> str:
    """A job whose last event is its own, behind those of its run."""
    job = records.submit().id
    records.claim()
    records.cancel(job)
    return job


def test_a_reader_far_ahead_of_the_end_gets_nothing(records: Records) -> None:
    assert records.events(told(records), after=2**53) == []


def test_a_reader_learns_how_far_the_stream_goes_and_what_stands_where_it_was(records: Records) -> None:
    job, left = records.submit("q").id, records.submit("q").id
    records.append(records.claim(), 0, "one")
    records.cancel(left)
    whole = records.events(job)
    for event in whole:
        event_page = existing(records.run(jobs.follow("anyone", job, event.id)))
        assert (event_page.newest, event_page.seen) == (3, event)
    beyond, ended = (records.run(jobs.follow("anyone", j, 4)) for j in (job, left))
    assert beyond is not None
    assert (beyond.newest, beyond.seen) == (3, None)
    assert ended is not None
    assert (ended.newest, ended.seen, ended.events) == (4, None, ())


def test_a_left_job_s_long_stream_is_told_in_full_before_its_end(records: Records) -> None:
    _, leaves = records.submit("q").id, records.submit("q").id
    claim = records.claim()
    for start in range(EVENT_PAGE_LIMIT + 88):
        records.append(claim, start, "x")
    records.cancel(leaves)
    event_page = existing(records.run(jobs.follow("anyone", leaves, 0)))
    assert EVENT_PAGE_LIMIT <= len(event_page.events) <= EVENT_PAGE_LIMIT + 2
    events = records.events(leaves)
    assert [e.id for e in events] == list(range(1, EVENT_PAGE_LIMIT + 92))
    assert events[-1].type == "cancelled"


def test_a_waiting_reader_learns_of_the_run_when_the_pictures_are_there(records: Records) -> None:
    job = records.submit_pending().id
    fetching = existing(records.run(jobs.follow("anyone", job, 0)))
    assert (fetching.events, fetching.run_id, fetching.ended) == ((), None, False)
    records.admit(records.claim_pending())
    admitted = existing(records.run(jobs.follow("anyone", job, 0)))
    assert ([e.type for e in admitted.events], admitted.ended) == (["queued"], False)
    assert admitted.run_id == records.view(job).run_id


def test_a_job_whose_pictures_cannot_be_had_tells_why_and_ends(records: Records) -> None:
    job = records.submit_pending().id
    records.fail_intake(records.claim_pending())
    event_page = existing(records.run(jobs.follow("anyone", job, 0)))
    assert [(e.id, e.type, e.data) for e in event_page.events] == [(1, "failed", BROKEN.model_dump())]
    assert event_page.ended


def test_the_end_of_a_job_is_told_after_its_events_are_gone(records: Records) -> None:
    job = records.answered(outcome=BROKEN)
    records.wait(SETTINGS.retention.result_s)
    assert records.story(job.id) == ["failed"]
    assert not _forgot(records, job.id, 1)
    last = records.events(job.id)[-1]
    assert (last.id, last.data["code"]) == (records.view(job.id).last_event, BROKEN.code)
    assert records.events(job.id, after=last.id) == []


def test_who_reads_after_a_change_of_model_reads_one_answer(records: Records) -> None:
    """Its first words were read by nobody, and are computed anew; a place in the stream stays what it was."""
    job = records.submit().id
    records.claim(fingerprint=PRINT)
    records.lose_worker()
    old = records.claim(fingerprint=PRINT)
    early = records.events(job)
    assert [e.type for e in early] == ["queued", "running", "requeued", "running"]
    records.append(old, 0, "eins ")
    records.append(old, 5, "zwei")
    records.lose_worker()
    new = records.claim(fingerprint=OTHER_PRINT)
    assert (new.mixed, new.published) == (False, 0)
    records.append(new, 0, "one ")
    records.settle(new)
    events = records.events(job)
    assert events[: len(early)] == early
    assert [e.type for e in events[len(early) :]] == ["requeued", "running", "text", "succeeded"]
    assert [e.data["text"] for e in events if e.type == "text"] == ["one "]
    for event in events:
        assert records.events(job, after=event.id) == [e for e in events if e.id > event.id]


def test_one_caller_s_reading_binds_a_run_that_another_asked_for(records: Records) -> None:
    records.submit("q")
    reader = records.submit("q").id
    records.append(records.claim(fingerprint=PRINT), 0, "eins ")
    records.cancel(reader)
    assert "text" in records.story(reader)
    records.lose_worker()
    assert records.claim(fingerprint=OTHER_PRINT).mixed


@pytest.mark.parametrize("attempts", [49, 60])
def test_who_has_read_many_attempts_goes_on_behind_them_whatever_becomes_of_the_text(
    records: Records, attempts: int
) -> None:
    job = records.submit().id
    for _ in range(attempts):
        records.give_back(records.claim(fingerprint=PRINT))
    last = records.events(job)[-1].id
    records.append(records.claim(fingerprint=PRINT), 0, "eins ")
    records.lose_worker()
    records.claim(fingerprint=OTHER_PRINT)
    event_page = existing(records.run(jobs.follow("anyone", job, last)))
    assert not event_page.forgot


def test_a_run_in_flight_is_read_while_the_store_takes_no_writes(records: Records) -> None:
    job = records.submit().id
    records.append(records.claim(), 0, "one ")
    records.client.config_set("min-replicas-to-write", 1)
    try:
        assert records.story(job) == ["queued", "running", "text"]
    finally:
        records.client.config_set("min-replicas-to-write", 0)
    # Who reads on is known to have read.
    records.events(job)
    records.lose_worker()
    assert records.claim(fingerprint=OTHER_PRINT).mixed


def test_reading_an_ended_job_writes_nothing(records: Records) -> None:
    """A replica that takes no writes still tells it."""
    job = told(records)
    before = records.dump()
    records.events(job)
    assert records.dump() == before


def test_large_events_are_read_a_few_at_a_time_and_all_of_them(records: Records) -> None:
    """Who does not read holds what was read for him."""
    job, claim = records.started()
    size = EVENT_PAGE_BYTES // 4
    for at in range(40):
        records.append(claim, at * size, "x" * size)
    records.settle(claim)
    event_page = existing(records.run(jobs.follow("anyone", job, 0)))
    assert [e.type for e in event_page.events] == ["queued", "running", *["text"] * 4]
    assert records.story(job) == ["queued", "running", *["text"] * 40, "succeeded"]


def test_what_a_server_forgot_when_it_ended_has_ids_that_are_never_given_again(
    records: Records, server: RedisServer
) -> None:
    job, claim = records.started()
    records.append(claim, 0, "one ")
    server.kill()
    server.start()
    records.append(claim, 4, "two ")
    records.append(claim, 8, "three")
    assert [e.id for e in records.events(job)] == [1, 2, 3, 10_004, 10_005]
    assert [_forgot(records, job, after) for after in (3, 4, 10_003, 10_004)] == [False, True, True, False]


def test_a_reader_of_what_the_store_forgot_is_not_taken_for_one_at_the_end_of_a_job_that_was_left(
    records: Records,
) -> None:
    left, stays = records.submit("q"), records.submit("q").id
    records.append(records.claim(), 0, "one")
    records.change(left.run_id, server="before")
    records.cancel(left.id)
    assert [_forgot(records, left.id, after) for after in (3, 4)] == [False, True]
    last = records.events(left.id)[-1]
    assert (last.type, _forgot(records, left.id, last.id)) == ("cancelled", False)
    assert not _forgot(records, stays, 3)


def test_a_run_that_a_server_may_have_forgotten_whole_is_opened_anew_under_other_ids(
    records: Records, server: RedisServer
) -> None:
    job = records.submit_pending().id
    server.kill()
    server.start()
    records.admit(records.claim_pending())
    records.append(records.claim(), 0, "one")
    assert [e.id for e in records.events(job)] == [LEAP + 1, LEAP + 2, LEAP + 3]
    assert [_forgot(records, job, after) for after in (1, 3, LEAP + 1)] == [True, True, False]


def _forgot(records: Records, job: str, after: int) -> bool:
    event_page = existing(records.run(jobs.follow("anyone", job, after)))
    return event_page.forgot


def test_a_left_job_s_end_stands_behind_a_full_chapter_too(records: Records) -> None:
    job = records.submit().id
    claim = records.claim()
    for start in range(EVENT_PAGE_LIMIT - 2):
        records.append(claim, start, "x")
    records.cancel(job)
    events = records.events(job)
    assert [e.id for e in events] == list(range(1, EVENT_PAGE_LIMIT + 2))
    assert events[-1].last
