"""Submit: accepted means kept, refused means no trace."""

from dataclasses import replace

import pytest
from pydantic import SecretStr

from shared.store import jobs
from tests.support.store import SETTINGS, Records


def test_letters_of_any_script_take_no_more_than_their_own_bytes_in_the_record(records: Records) -> None:
    told = {"straße": "北京 😀"}
    view = records.accept(records.placing(), metadata=told)
    assert records.field(view.id, "metadata") == '{"straße":"北京 😀"}'
    assert records.view(view.id).metadata == told


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
