"""Follow: a stream can be read from anywhere, exactly, before and after the end."""

from shared.store import jobs
from shared.store.jobs import CHAPTER_LIMIT
from tests.support.store import BROKEN, Records


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


def test_ids_rise_by_one_and_the_last_event_is_the_end(records: Records) -> None:
    events = records.events(told(records))
    assert [e.id for e in events] == list(range(1, len(events) + 1))
    assert [e.last for e in events] == [False] * (len(events) - 1) + [True]


def test_reading_on_from_any_event_gives_exactly_the_rest(records: Records) -> None:
    job = told(records)
    whole = records.events(job)
    for event in whole:
        assert records.events(job, after=event.id) == whole[event.id :]


def test_a_reader_far_ahead_of_the_end_gets_nothing(records: Records) -> None:
    assert records.events(told(records), after=2**53) == []


def test_a_reader_learns_how_far_the_stream_goes_and_what_stands_where_it_was(records: Records) -> None:
    job, left = records.submit("q").id, records.submit("q").id
    records.append(records.claim(), 0, "one")
    records.cancel(left)
    whole = records.events(job)
    for event in whole:
        chapter = records.run(jobs.follow("anyone", job, event.id))
        assert chapter is not None
        assert (chapter.newest, chapter.seen) == (3, event)
    beyond, ended = (records.run(jobs.follow("anyone", j, 4)) for j in (job, left))
    assert beyond is not None
    assert (beyond.newest, beyond.seen) == (3, None)
    assert ended is not None
    assert (ended.newest, ended.seen, ended.events) == (4, None, ())


def test_what_a_reader_sees_early_is_what_it_sees_late(records: Records) -> None:
    job = records.submit().id
    claim = records.claim()
    records.append(claim, 0, "one ")
    early = records.events(job)
    records.settle(claim)
    assert records.events(job)[: len(early)] == early


def test_a_left_job_s_end_is_not_told_twice_to_a_reader_that_comes_back(records: Records) -> None:
    job = records.submit().id
    records.claim()
    records.cancel(job)
    whole = records.events(job)
    assert [e.type for e in whole] == ["queued", "running", "cancelled"]
    for event in whole:
        assert records.events(job, after=event.id) == whole[event.id :]


def test_a_left_job_s_long_stream_is_told_in_full_before_its_end(records: Records) -> None:
    _, leaves = records.submit("q").id, records.submit("q").id
    claim = records.claim()
    for start in range(CHAPTER_LIMIT + 88):
        records.append(claim, start, "x")
    records.cancel(leaves)
    chapter = records.run(jobs.follow("anyone", leaves, 0))
    assert chapter is not None
    assert len(chapter.events) == CHAPTER_LIMIT
    events = records.events(leaves)
    assert [e.id for e in events] == list(range(1, CHAPTER_LIMIT + 92))
    assert events[-1].type == "cancelled"


def test_a_left_job_s_end_stands_behind_a_full_chapter_too(records: Records) -> None:
    job = records.submit().id
    claim = records.claim()
    for start in range(CHAPTER_LIMIT - 2):
        records.append(claim, start, "x")
    records.cancel(job)
    events = records.events(job)
    assert [e.id for e in events] == list(range(1, CHAPTER_LIMIT + 2))
    assert events[-1].last


def test_a_waiting_reader_learns_of_the_run_when_the_pictures_are_there(records: Records) -> None:
    job = records.submit_pending().id
    fetching = records.run(jobs.follow("anyone", job, 0))
    assert fetching is not None
    assert (fetching.events, fetching.run_id, fetching.ended) == ((), None, False)
    records.admit(records.claim_pending())
    admitted = records.run(jobs.follow("anyone", job, 0))
    assert admitted is not None
    assert ([e.type for e in admitted.events], admitted.ended) == (["queued"], False)
    assert admitted.run_id == records.view(job).run_id


def test_a_job_whose_pictures_cannot_be_had_tells_why_and_ends(records: Records) -> None:
    job = records.submit_pending().id
    records.fail_intake(records.claim_pending())
    chapter = records.run(jobs.follow("anyone", job, 0))
    assert chapter is not None
    assert [(e.id, e.type, e.data) for e in chapter.events] == [(1, "failed", BROKEN.model_dump())]
    assert chapter.ended


def test_the_end_of_a_job_is_told_after_its_events_are_gone(records: Records) -> None:
    job = records.submit()
    records.settle(records.claim(), BROKEN)
    records.client.delete(f"sl2:{job.run_id}:events")
    assert records.story(job.id) == ["failed"]
    last = records.events(job.id)[-1]
    assert (last.id, last.data["code"]) == (records.view(job.id).last_event, BROKEN.code)
    assert records.events(job.id, after=last.id) == []
