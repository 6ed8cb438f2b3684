"""A record that cannot be read fails alone: its jobs with a typed error, and everything else goes on."""

from collections.abc import Callable

import pytest

from shared.job import Status, Times
from shared.store import files, jobs, maintenance, webhook_endpoints
from shared.store.admission import cached
from tests.store.test_files import create
from tests.support.hooks import endpoint, submit, told_to
from tests.support.store import LANE, Records
from tests.support.stored_batches import BATCH, take, upload
from tests.support.stored_batches import create as create_batch

Spoil = Callable[[Records, str], object]
A_DAY_S, FIFTY_DAYS_S = 100_000, 50 * 86400 + 3600


def other_type(records: Records, id: str) -> None:
    records.client.delete(f"sl7:{id}")
    records.client.set(f"sl7:{id}", "x")


FAULTS: dict[str, Spoil] = {
    "no JSON": lambda records, id: records.client.hset(f"sl7:{id}", "r", "{"),
    "a change that is no JSON": lambda records, id: records.client.hset(f"sl7:{id}", "s", "{"),
    "a list": lambda records, id: records.client.hset(f"sl7:{id}", "r", "[1]"),
    "a missing field": lambda records, id: records.change(id, lane=None, model_lane=None),
    "another type": other_type,
}
spoilt = pytest.mark.parametrize("spoil", FAULTS.values(), ids=FAULTS)


def bad(records: Records) -> list[str]:
    named: dict[str, str] = records.run(maintenance.bad_records())
    return sorted(named)


def looks_at_deadlines(records: Records) -> None:
    records.wait(A_DAY_S)
    records.expire()


MEETS: dict[str, Callable[[Records, str], object]] = {
    "claim": lambda records, _: records.try_claim(),
    "rescue": lambda records, _: records.lose_worker(),
    "a look at deadlines": lambda records, _: looks_at_deadlines(records),
    "cancel": lambda records, joined: records.cancel(joined),
    "submit": lambda records, _: records.submit("q"),
}


@spoilt
@pytest.mark.parametrize("meet", MEETS)
def test_the_jobs_of_a_spoilt_run_fail_whatever_meets_it_and_the_next_is_served(
    records: Records, spoil: Spoil, meet: str
) -> None:
    first, joined = records.submit("q"), records.submit("q")
    held = records.claim() if meet == "rescue" else None
    spoil(records, str(first.run_id))
    good = records.submit()
    MEETS[meet](records, joined.id)
    records.finish()
    assert bad(records) == [first.run_id]
    for job in (first.id, joined.id):
        seen = records.view(job)
        assert (seen.status, seen.error and seen.error.code) == ("failed", "internal_error")
        assert records.events(job)[-1].type == "failed"
    assert held is None or records.settle(held) == "lost"
    others = {"claim": "running", "a look at deadlines": "failed"}
    assert records.view(good.id).status == others.get(meet, "queued")
    for view in records.listed().views:  # type: ignore[union-attr]
        records.purge(view.id)
    records.wait(FIFTY_DAYS_S)
    records.renew()
    assert not records.client.exists("sl7:held:worker_01"), "a slot of the worker stays taken"
    records.fold()
    assert not records.client.exists("sl7:mem"), "somebody is charged for it"


def test_work_that_cannot_be_begun_fails_and_the_next_is_served(records: Records) -> None:
    odd, good = records.submit(), records.submit()
    records.change(odd.run_id, cost=None)
    assert records.claim().id == good.run_id
    records.finish()
    assert records.view(odd.id).status == "failed"
    assert bad(records) == [odd.run_id]


@spoilt
def test_a_spoilt_job_is_left_out_and_the_others_are_shown_and_end(records: Records, spoil: Spoil) -> None:
    times = Times(finish_by=records.now + 1000)
    views = [records.post(records.placing(), times=times).view for _ in range(3)]
    first, middle, last = (str(view and view.id) for view in views)
    spoil(records, middle)
    queued: list[Status] = ["queued"]
    for statuses in ([], queued):
        page = records.listed(statuses=statuses)
        assert page is not None
        assert {view.id for view in page.views} == {first, last}
    assert records.try_view(middle) is None
    assert records.cancel(middle) is None
    records.wait(2)
    assert records.expire() == [first, last]
    assert bad(records) == [middle]


@spoilt
def test_a_job_of_a_spoilt_run_is_listed(records: Records, spoil: Spoil) -> None:
    job = records.submit()
    spoil(records, str(job.run_id))
    for results in (False, True):
        call = jobs.jobs(records.settings, "anyone", after=None, limit=10, results=results)
        page = records.run(call)
        assert page is not None
        assert [view.id for view in page.views] == [job.id]


@spoilt
def test_an_answer_whose_record_cannot_be_read_is_no_longer_kept(records: Records, spoil: Spoil) -> None:
    records.beat()
    job = records.submit("q")
    records.settle(records.claim())
    spoil(records, str(job.run_id))
    assert records.submit("q").cache == "MISS"
    assert records.run(cached(records.placing("q"), records.settings, texts=False)) is None
    records.finish()
    assert (records.view(job.id).status, records.view(job.id).expired) == ("succeeded", True)


@pytest.mark.parametrize("answer", ["{", "[1]", '"text"'])
def test_an_answer_that_cannot_be_read_is_no_longer_kept(records: Records, answer: str) -> None:
    job = records.submit("q")
    records.settle(records.claim())
    records.client.hset(f"sl7:{job.run_id}", mapping={"result": answer, "bare": answer})
    assert records.view(job.id).expired
    assert records.run(cached(records.placing("q"), records.settings, texts=False)) is None


def test_a_reader_of_a_run_that_cannot_be_read_gets_the_end_of_its_job(records: Records) -> None:
    job = records.submit()
    held = records.claim()
    records.append(held, 0, "one")
    last = records.events(job.id)[-1].id
    records.client.hset(f"sl7:{job.run_id}", "t", "{")
    until_then = records.run(jobs.follow("anyone", job.id, last))
    assert until_then is not None
    assert (until_then.events, until_then.forgot) == ((), False)
    assert records.settle(held) == "lost"
    records.finish()
    assert [event.type for event in records.events(job.id, last)] == ["failed"]


def test_bad_records_are_named_until_they_are_forgotten_and_no_more_than_a_thousand(records: Records) -> None:
    records.client.hset("sl7:bad", mapping={f"run_{number:x}": "why" for number in range(1000)})
    run = str(records.submit().run_id)
    records.client.hset(f"sl7:{run}", "r", "{")
    assert records.try_claim() is None
    assert len(bad(records)) == 1000
    records.client.delete("sl7:bad")
    records.client.hset("sl7:bad", run, "why")
    assert [records.run(maintenance.forget(run)) for _ in range(2)] == [True, False]
    assert bad(records) == []


def test_a_line_whose_counts_cannot_be_read_goes_on(records: Records) -> None:
    runs = [records.submit().run_id for _ in range(2)]
    records.client.hset(f"sl7:lane:{LANE}", "q", "{")
    assert [records.claim().id for _ in runs] == runs
    assert bad(records) == [f"lane:{LANE}"]
    assert records.waiting() == 0


@pytest.mark.parametrize("kind", ["files", "endpoints"])
@pytest.mark.parametrize("spoil", [other_type, lambda records, id: records.client.hdel(f"sl7:{id}", "id")])
def test_a_list_shows_the_other_plain_records(records: Records, kind: str, spoil: Spoil) -> None:
    if kind == "files":
        odd, good = (create(records, number).id for number in (1, 2))
    else:
        odd, good = endpoint(records), endpoint(records)
    spoil(records, odd)
    if kind == "files":
        shown = [
            file.id
            for file in records.run(files.files("anyone", after=None, limit=10, oldest_first=False)) or ()
        ]
    else:
        shown = [one.id for one in records.run(webhook_endpoints.endpoints("anyone"))]
    assert shown == [good]


def test_the_next_batch_is_taken_up(records: Records) -> None:
    upload(records)
    create_batch(records, id="batch_0a")
    create_batch(records)
    other_type(records, "batch_0a")
    assert take(records).id == BATCH
    assert bad(records) == ["batch_0a"]


@pytest.mark.parametrize("field", ["targets", "type"])
def test_other_webhooks_are_called_beside_a_notice_that_cannot_be_read(records: Records, field: str) -> None:
    odd, good = submit(records, "one"), submit(records, "two")
    for _ in range(2):
        records.settle(records.claim())
    records.client.hset(f"sl7:{odd.id}:ended", field, "{")
    assert good.id in [subject for _, _, subject in told_to(records)]
    records.purge(odd.id)
    assert not records.client.exists(f"sl7:{odd.id}")


@pytest.mark.parametrize(
    "spoil", [other_type, lambda records, id: records.client.hdel(f"sl7:{id}", "events")]
)
@pytest.mark.parametrize("whose", ["an endpoint", "a job's own"])
def test_a_webhook_that_cannot_be_read_holds_up_no_job_and_no_other_webhook(
    records: Records, spoil: Spoil, whose: str
) -> None:
    odd, _ = endpoint(records), endpoint(records, url="https://good.example/")
    job, joined = submit(records, "q"), submit(records, "q")
    id = odd if whose == "an endpoint" else f"{job.id}:hook"
    spoil(records, id)
    records.settle(records.claim())
    records.finish()
    calls = told_to(records)
    for ended in (job.id, joined.id):
        assert records.view(ended).status == "succeeded"
        assert ("https://good.example/", "job.succeeded", ended) in calls
    assert bad(records) == [id]
