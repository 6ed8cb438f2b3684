"""Submit: accepted means kept, refused means no trace."""

from dataclasses import replace

import pytest
from pydantic import SecretStr

from shared.store import jobs
from shared.store.admission import submit
from shared.store.script import Store
from tests.support.existing import existing
from tests.support.store import LANE, MODEL, SETTINGS, Records


def test_an_accepted_job_waits_in_line_and_can_be_read_back(records: Records) -> None:
    submitted = records.post(records.placing("q", priority="batch"), metadata={"shop": "7"})
    assert submitted.word == "queued"
    assert submitted.view is not None
    view = records.view(submitted.view.id)
    assert view == submitted.view
    assert (view.status, view.model, view.priority, view.cache) == ("queued", MODEL, "batch", "MISS")
    assert (view.metadata, view.request_hash) == ({"shop": "7"}, "q")
    assert (view.waiting_reason, view.ahead, view.last_event) == ("no_worker", 0, 1)
    assert records.story(view.id) == ["queued"]


def test_letters_of_any_script_take_no_more_than_their_own_bytes_in_the_record(records: Records) -> None:
    told = {"straße": "北京 😀"}
    view = records.accept(records.placing(), metadata=told)
    assert records.field(view.id, "metadata") == '{"straße":"北京 😀"}'
    assert records.view(view.id).metadata == told


def test_without_a_test_clock_the_server_s_own_time_is_written(store: Store) -> None:
    records = Records(store)
    view = existing(store.run(submit(records.placing(), SETTINGS)).view)
    seconds, _ = store.client.time()
    assert abs(view.created_ms / 1000 - seconds) < 60


def test_a_full_line_refuses_and_keeps_no_trace(records: Records) -> None:
    records.set_queue(max_queued=1)
    records.submit("q")
    before = records.dump()
    assert records.post(records.placing()).word == "full"
    assert records.dump() == before


def test_a_full_line_still_serves_those_who_need_no_place_in_it(records: Records) -> None:
    records.set_queue(max_queued=1)
    records.submit("q")
    assert records.submit("q").cache == "COALESCED"
    records.beat()
    records.settle(records.claim())
    records.submit("other")
    assert records.submit("q").cache == "HIT"


def test_jobs_that_wait_for_their_pictures_cannot_flood_the_store(records: Records) -> None:
    records.set_queue(max_queued=1)
    records.submit_pending()
    assert records.post(records.placing(key=None), pending_terms="{}").word == "full"


def test_a_caller_who_cannot_wait_is_refused_while_no_worker_serves(records: Records) -> None:
    placing = records.placing("q")
    assert records.post(placing, must_be_ready=True).word == "unready"
    assert records.dump() == {f"sl9:lane:{LANE}": {"wanted": str(records.now)}}, "of the call nothing is kept"
    records.beat(state="loading")
    assert records.post(placing, must_be_ready=True).word == "unready"
    records.beat()
    assert records.post(placing, must_be_ready=True).word == "queued"


def test_a_request_that_must_not_be_shared_bypasses_cache_and_join(records: Records) -> None:
    records.beat()
    first = records.submit("q", key=None)
    assert (first.cache, records.submit("q", key=None).cache) == ("BYPASS", "BYPASS")
    assert records.waiting() == 2
    records.settle(records.claim())
    assert records.submit("q").cache == "MISS"


@pytest.mark.parametrize("stranger", ["someone", ""])
def test_another_caller_s_job_does_not_exist(records: Records, stranger: str) -> None:
    job = records.submit().id
    before = records.dump()
    assert records.try_view(job, stranger) is None
    assert records.cancel(job, stranger) is None
    assert records.purge(job, stranger) is None
    assert records.run(jobs.follow(stranger, job, 0)) is None
    assert records.dump() == before


@pytest.mark.parametrize("name", ["lease", "jobs:anyone", "nothing", "", "job_", "{job}:attempts"])
def test_an_id_that_names_another_record_of_ours_reaches_no_record(records: Records, name: str) -> None:
    view = records.submit_pending()
    claim = records.claim_pending()
    records.admit(claim)
    records.claim()
    before = records.dump()
    guess = name.format(job=view.id)
    assert records.try_view(guess) is None
    assert records.cancel(guess) is None
    assert records.purge(guess) is None
    assert records.run(jobs.follow("anyone", guess, 0)) is None
    assert records.dump() == before


def test_a_request_of_any_text_comes_back_as_it_was(records: Records) -> None:
    text = '{"ask":"ünïcode \\u0000 🖼 \\" \\\\"}'
    records.post(replace(records.placing(caller="a:b c"), request=text))
    claim = records.claim()
    assert (claim.request, claim.caller) == (text, "a:b c")


def test_who_waits_keeps_a_place_in_line_however_long_the_line_is(records: Records) -> None:
    records.beat(facts={"rows": "1", "service_ms": "1e9"})
    words = [records.post(records.placing(text), must_be_ready=True).word for text in ("one", "two", "three")]
    assert words == ["queued"] * 3


def test_callers_who_fill_the_line_leave_a_place_to_the_next(records: Records) -> None:
    api = SETTINGS.api.model_copy(update={"admin_key": SecretStr("x" * 32)})
    records.settings = SETTINGS.model_copy(update={"api": api})
    records.set_queue(max_queued=16)
    words = {
        caller: [records.post(records.placing(caller=caller)).word for _ in range(9)]
        for caller in ("one", "two", "three", "four")
    }
    assert [words[caller].count("queued") for caller in words] == [8, 4, 2, 1]
    assert {word for said in words.values() for word in said} == {"queued", "crowded"}
