"""A record that cannot be read hurts nobody but the jobs that hang on it."""

from collections.abc import Callable

import pytest

from shared.job import Times
from shared.store import audit, jobs
from shared.store.admission import cached
from shared.store.headroom import holding
from shared.webhooks import Webhook
from tests.support.hooks import endpoint, submit, told_to
from tests.support.store import LANE, PRINT, Records

Spoil = Callable[[Records, str], object]
FAULTS: dict[str, Spoil] = {
    "no JSON": lambda records, id: records.client.hset(f"sl7:{id}", "r", "{"),
    "a list": lambda records, id: records.client.hset(f"sl7:{id}", "r", "[1]"),
    "no lane": lambda records, id: records.change(id, lane=None, model_lane=None),
    "another type": lambda records, id: (
        records.client.delete(f"sl7:{id}"),
        records.client.set(f"sl7:{id}", "x"),
    ),
}
FIFTY_DAYS_S = 50 * 86400 + 3600
spoilt = pytest.mark.parametrize("spoil", FAULTS.values(), ids=FAULTS)


def ends_typed(records: Records, job: str) -> None:
    records.audit()
    seen = records.view(job)
    assert (seen.status, seen.error and seen.error.code) == ("failed", "internal_error")


@spoilt
def test_the_line_goes_on_behind_a_spoilt_run(records: Records, spoil: Spoil) -> None:
    bad, good = records.submit(), records.submit()
    spoil(records, str(bad.run_id))
    assert records.claim().id == good.run_id
    assert list(records.client.hgetall("sl7:bad")) == [bad.run_id]
    ends_typed(records, bad.id)
    assert records.client.exists(f"sl7:aside:{bad.run_id}")
    assert records.client.ttl(f"sl7:aside:{bad.run_id}") > 0


@spoilt
def test_other_leases_are_looked_after(records: Records, spoil: Spoil) -> None:
    bad, good = records.submit(), records.submit()
    for _ in range(2):
        records.claim()
    spoil(records, str(bad.run_id))
    records.lose_worker()
    assert records.claim(fingerprint=PRINT).id == good.run_id
    ends_typed(records, bad.id)


@spoilt
def test_other_deadlines_are_kept(records: Records, spoil: Spoil) -> None:
    times = Times(finish_by=records.now + 1000)
    bad, good = (records.post(records.placing(), times=times).view for _ in range(2))
    assert bad is not None
    assert good is not None
    spoil(records, bad.id)
    records.wait(2)
    records.expire()
    assert records.view(good.id).status == "failed"
    records.audit()
    assert records.waiting() == 0, "a run for nobody waits"


@spoilt
def test_a_spoilt_run_s_jobs_can_be_read_and_cancelled(records: Records, spoil: Spoil) -> None:
    job = records.submit()
    spoil(records, str(job.run_id))
    assert records.view(job.id).status == "queued"
    records.cancel(job.id)
    assert records.view(job.id).ended


@pytest.mark.parametrize(
    "spoil",
    [*FAULTS.values(), lambda records, id: records.change(id, metadata=None)],
    ids=[*FAULTS, "no metadata"],
)
def test_a_page_lists_the_others(records: Records, spoil: Spoil) -> None:
    good = {records.submit(text).id for text in ("one", "two")}
    bad = records.submit("three").id
    spoil(records, bad)
    for page in (records.listed(), records.listed(statuses=["queued"])):
        assert page is not None
        assert {view.id for view in page.views} == good
    records.audit()
    assert bad in records.client.hgetall("sl7:bad")


@pytest.mark.parametrize("answer", ["{", "[1]", '"text"'])
def test_an_answer_that_cannot_be_read_is_no_longer_kept(records: Records, answer: str) -> None:
    job, good = records.submit("q"), records.submit()
    records.settle(records.claim())
    records.client.hset(f"sl7:{job.run_id}", mapping={"result": answer, "bare": answer})
    assert records.view(job.id).expired
    assert records.run(cached(records.placing("q"), records.settings, texts=False)) is None
    page = records.listed()
    assert page is not None
    assert {view.id for view in page.views} == {job.id, good.id}


@pytest.mark.parametrize("name", ["r", "s"])
@pytest.mark.parametrize("text", ["{", "[1]", "{}"])
def test_a_cached_answer_whose_record_cannot_be_read_is_none(records: Records, name: str, text: str) -> None:
    job = records.submit("q")
    records.settle(records.claim())
    records.client.hset(f"sl7:{job.run_id}", name, text)
    assert records.run(cached(records.placing("q"), records.settings, texts=False)) is None


def test_a_record_set_aside_is_counted_until_it_is_forgotten(records: Records) -> None:
    bad = str(records.submit().run_id)
    records.client.hset(f"sl7:{bad}", "r", "{")
    assert records.try_claim() is None
    known: dict[str, str] = records.run(audit.set_aside())
    assert list(known) == [bad]
    assert records.client.hlen("sl7:bad") == 1
    assert records.run(audit.forget(bad))
    assert records.run(audit.set_aside()) == {}
    assert not records.client.exists(f"sl7:aside:{bad}")
    assert not records.run(audit.forget(bad)), "harmless twice"


def test_a_page_of_records_set_aside_is_bounded(records: Records) -> None:
    records.client.hset("sl7:bad", mapping={f"run_{number:x}": "why" for number in range(1500)})
    shown: dict[str, str] = records.run(audit.set_aside())
    assert len(shown) == audit.MOST_BAD


def test_other_callers_webhooks_are_called(records: Records) -> None:
    hook = Webhook("https://example.com/", host="example.com")
    for caller in ("broken", "whole"):
        records.post(records.placing(caller=caller), webhook=hook)
        records.settle(records.claim())
    for key in records.client.keys("sl7:deliveries broken *"):
        records.client.delete(key)
        records.client.set(key, "x")
    delivery = records.next_delivery()
    assert delivery is not None
    assert delivery.notice.job is not None
    assert delivery.notice.job.caller == "whole"
    assert list(records.client.hgetall("sl7:bad")) == ["deliveries broken"]


def test_a_worker_s_slot_is_free_again_after_a_run_that_cannot_be_read(records: Records) -> None:
    records.submit()
    claim = records.claim()
    records.client.hset(f"sl7:{claim.id}", "s", "{")
    records.lose_worker()
    records.audit()
    good = records.submit()
    records.wait(100)
    records.renew()
    assert records.claim().id == good.run_id
    assert len(records.client.hkeys("sl7:held:worker_01")) == 1


def test_a_reader_of_a_run_that_cannot_be_read_gets_the_end_of_its_job(records: Records) -> None:
    job = records.submit()
    records.append(records.claim(), 0, "one")
    last = records.events(job.id)[-1].id
    records.client.hset(f"sl7:{job.run_id}", "t", "{")
    until_then = records.run(jobs.follow("anyone", job.id, last))
    assert until_then is not None
    assert (until_then.events, until_then.forgot) == ((), False)
    records.audit()
    assert [event.type for event in records.events(job.id, last)] == ["failed"]


def test_a_line_whose_counts_cannot_be_read_goes_on(records: Records) -> None:
    runs = [records.submit().run_id for _ in range(2)]
    records.client.hset(f"sl7:lane:{LANE}", "q", "{")
    assert [records.claim().id for _ in runs] == runs
    assert f"lane:{LANE}" in records.client.hgetall("sl7:bad")
    assert records.waiting() == 0


def test_other_webhooks_are_called_beside_a_notice_that_cannot_be_read(records: Records) -> None:
    bad, good = submit(records, "one"), submit(records, "two")
    for _ in range(2):
        records.settle(records.claim())
    records.client.hset(f"sl7:{bad.id}:ended", "deliveries", "{")
    subjects = [due.notice.subject for due in (records.next_delivery() for _ in range(4)) if due]
    assert good.id in subjects
    records.purge(bad.id)
    assert not records.client.exists(f"sl7:{bad.id}")


def test_no_caller_is_charged_for_a_record_set_aside(records: Records) -> None:
    job = records.submit()
    assert records.run(holding("anyone")) > 0
    records.client.hset(f"sl7:{job.run_id}", "r", "{")
    assert records.try_claim() is None
    records.audit()
    records.purge(job.id)
    assert records.run(holding("anyone")) == 0


@pytest.mark.parametrize("end", ["cancelled", "deleted by hand"])
def test_what_is_charged_for_a_run_goes_in_the_end_where_its_record_does_not_say_it(
    records: Records, end: str
) -> None:
    job = records.submit()
    if end == "cancelled":
        records.client.hset(f"sl7:{job.run_id}", "m", "x")
        records.cancel(job.id)
    else:
        records.client.delete(f"sl7:{job.run_id}")
        records.audit()
    records.purge(job.id)
    assert records.run(holding("anyone")) > 0
    records.wait(FIFTY_DAYS_S)
    records.fold()
    assert not records.client.exists("sl7:mem")


def test_a_job_whose_run_cannot_be_read_ends_after_all_its_events_where_its_model_is_removed(
    records: Records,
) -> None:
    job = records.submit()
    claim = records.claim()
    records.append(claim, 0, "one")
    records.give_back(claim)
    last = records.events(job.id)[-1].id
    records.client.hset(f"sl7:{job.run_id}", "s", "{")
    records.remove_model()
    records.sweep()
    assert [event.type for event in records.events(job.id, last)] == ["failed"]


HOOK_FAULTS: dict[str, Spoil] = {
    "no events": lambda records, key: records.client.hdel(key, "events"),
    "another type": lambda records, key: (records.client.delete(key), records.client.set(key, "x")),
}


@pytest.mark.parametrize("spoil", HOOK_FAULTS.values(), ids=HOOK_FAULTS)
@pytest.mark.parametrize("whose", ["an endpoint", "a job's own"])
@pytest.mark.parametrize("when", ["queued", "told"])
def test_a_webhook_that_cannot_be_read_holds_up_no_job_and_no_other_webhook(
    records: Records, spoil: Spoil, whose: str, when: str
) -> None:
    bad, good = endpoint(records), endpoint(records, url="https://good.example/")
    job = submit(records, "q")
    joined = submit(records, "q")
    spoilt_id = bad if whose == "an endpoint" else f"{job.id}:hook"
    if when == "queued":
        spoil(records, f"sl7:{spoilt_id}")
    records.settle(records.claim())
    records.finish()
    if when == "told":
        spoil(records, f"sl7:{spoilt_id}")
    calls = told_to(records)
    for id in (job.id, joined.id):
        assert records.view(id).status == "succeeded"
        assert ("https://good.example/", "job.succeeded", id) in calls
    assert spoilt_id in records.run(audit.set_aside())
    assert good not in records.run(audit.set_aside())
    for key in (f"sl7:{job.id}", f"sl7:{joined.id}", *records.client.scan_iter("sl7:*:ended")):
        assert records.client.ttl(key) != -1, "it would be kept for ever"


def test_joined_jobs_of_one_broken_set_hold_up_no_others(records: Records) -> None:
    many = [[records.submit(text).id for _ in range(40)] for text in ("one", "two")]
    runs = [str(records.view(jobs[0]).run_id) for jobs in many]
    for _ in runs:
        records.settle(records.claim())
    key = f"sl7:{runs[0]}:live"
    records.client.delete(key)
    records.client.set(key, "x")
    records.finish()
    assert {records.view(job).status for job in many[1]} == {"succeeded"}
    assert f"{runs[0]}:live" in records.run(audit.set_aside())
    records.audit()
    assert {records.view(job).status for job in many[0]} == {"succeeded"}


def test_leases_of_other_models_run_out_beside_a_list_that_cannot_be_read(records: Records) -> None:
    records.submit()
    records.claim()
    records.client.sadd("sl7:lanes", "broken")
    records.client.set("sl7:lease:broken", "x")
    assert len(records.lose_worker()) == 1
    assert "broken" in records.run(audit.set_aside())


@pytest.mark.parametrize("name", ["notices:anyone", "endpoints:anyone"])
def test_a_list_of_a_caller_that_cannot_be_read_ends_none_of_its_jobs_otherwise(
    records: Records, name: str
) -> None:
    endpoint(records)
    jobs = [records.submit(text).id for text in ("one", "two")]
    claims = [records.claim() for _ in jobs]
    records.client.delete(f"sl7:{name}")
    records.client.set(f"sl7:{name}", "x")
    for claim in claims:
        records.settle(claim)
    assert {records.view(job).status for job in jobs} == {"succeeded"}
    assert [*records.run(audit.set_aside())] == [name]


@pytest.mark.parametrize("when", ["queued", "running"])
@pytest.mark.parametrize("first", ["cancelled", "failed", "succeeded"])
def test_both_jobs_of_a_broken_set_end_whatever_meets_it_first(
    records: Records, first: str, when: str
) -> None:
    times = Times(finish_by=records.now + 1000)
    opener = records.post(records.placing("q"), times=times).view
    assert opener is not None
    joined = records.submit("q")
    early = records.claim() if when == "running" else None
    records.client.delete(f"sl7:{opener.run_id}:live")
    records.client.set(f"sl7:{opener.run_id}:live", "x")
    claim = early or records.claim()
    if first == "cancelled":
        records.cancel(opener.id)
    elif first == "failed":
        records.wait(1)
        records.expire()
    else:
        records.settle(claim)
    assert records.view(opener.id).status == first
    records.audit()
    assert records.field(joined.id, "status") in ("cancelled", "succeeded")
    assert [*records.run(audit.set_aside())] == [f"{opener.run_id}:live"]
