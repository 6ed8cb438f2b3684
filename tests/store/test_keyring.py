"""API keys in the record store: which secret is in force until when, and how often it may be used."""

import json
from dataclasses import replace

import pytest

from api.server.errors import retry_after
from shared.api_keys import ApiKey
from shared.store import api_keys
from tests.support.existing import existing
from tests.support.store import START_MS, Records

KEY = ApiKey("key_0a", "production", "example-ltd", ("submit", "read"), START_MS)
FIRST, SECOND, THIRD = "1" * 64, "2" * 64, "3" * 64
DAY_MS = 86_400_000


def left(records: Records, digest: str = FIRST) -> int | None:
    use = records.run(api_keys.use(digest))
    return None if use is None else use.left


def listed(records: Records) -> list[ApiKey]:
    return records.run(api_keys.keys()) or []


def test_the_list_of_keys_does_not_end_with_one_of_them(records: Records) -> None:
    records.run(api_keys.create(KEY, FIRST))
    records.run(api_keys.create(replace(KEY, id="key_0b", expires_ms=START_MS + DAY_MS), SECOND))
    assert records.client.ttl("sl9:keys:") == -1
    lives = [records.client.ttl(f"sl9:keyof:{digest}") for digest in (FIRST, SECOND)]
    assert lives == [-1, records.given(DAY_MS / 1000)]


def test_keys_have_pages_newest_first(records: Records) -> None:
    for number in "abc":
        records.run(api_keys.create(replace(KEY, id=f"key_0{number}"), number * 64))
        records.wait(1)
    first = existing(records.run(api_keys.keys(limit=2)))
    rest = records.run(api_keys.keys(first[-1].id, limit=2))
    assert [key.id for key in (*first, *(rest or []))] == ["key_0c", "key_0b", "key_0a"]
    assert records.run(api_keys.keys("key_0a")) == []
    assert records.run(api_keys.keys("key_ff")) is None


def test_what_was_typed_in_place_of_an_id_reaches_no_other_record(records: Records) -> None:
    records.submit()
    before = records.dump()
    for name in ("key_0a", "", "lease", "*", "key_zz", "../key_0a"):
        assert records.run(api_keys.revoke(name)) is None
        assert records.run(api_keys.rotate(name, FIRST, 0)) is None
    assert records.dump() == before


@pytest.mark.parametrize("back_s", [0.3, 1, 5, 3600])
def test_a_clock_that_is_set_back_gives_no_second_quota(records: Records, back_s: float) -> None:
    records.run(api_keys.create(replace(KEY, requests_per_minute=3), FIRST))
    records.wait(0.1)
    assert [left(records), left(records)] == [2, 1]
    records.wait(-back_s)
    assert [left(records), left(records)] == [0, -1]
    records.wait(60 + back_s)
    assert left(records) == 2


@pytest.mark.parametrize(("first_s", "then_s"), [(0, 0), (0, 0.999), (0.999, 0), (0.5, 0.6), (0.3, 59.6)])
def test_who_waits_as_told_is_let_in(records: Records, first_s: float, then_s: float) -> None:
    """A minute is told as 59 s, since a client takes 60 for no advice: then another second is."""
    records.run(api_keys.create(replace(KEY, requests_per_minute=2), FIRST))
    records.wait(first_s)
    assert [left(records), left(records)] == [1, 0]
    records.wait(then_s)
    for _ in range(2):
        refused = existing(records.run(api_keys.use(FIRST)))
        if refused.left >= 0:
            break
        # The very header that the refusal carries.
        records.wait(int(retry_after(refused.reset_s)))
    assert left(records) in (0, 1)


def test_the_store_holds_no_more_than_a_minute_of_requests(records: Records) -> None:
    records.run(api_keys.create(replace(KEY, requests_per_minute=1000), FIRST))
    for _ in range(100):
        left(records)
        records.wait(1)
    assert len(json.loads(records.client.hget("sl9:key_0a", "rate"))) <= 60
    assert [key.requests for key in listed(records)] == [59]


def test_a_key_that_was_refused_was_seen_but_its_request_not_counted(records: Records) -> None:
    records.run(api_keys.create(replace(KEY, requests_per_minute=1), FIRST))
    left(records)
    records.wait(20)
    assert left(records) == -1
    (key,) = listed(records)
    assert (key.requests, key.last_seen_ms) == (1, START_MS + 20_000)
    records.wait(40)
    (key,) = listed(records)
    assert key.requests == 0


def test_key_has_a_bounded_number_of_former_secrets(records: Records) -> None:
    records.run(api_keys.create(KEY, "0" * 64))
    digests = [f"{number:064}" for number in range(api_keys.MOST_FORMER + 2)]
    for digest in digests[1:]:
        records.run(api_keys.rotate(KEY.id, digest, 60))
        records.wait(1)
    assert [left(records, digest) is not None for digest in digests] == [False] + [True] * (len(digests) - 1)


def test_second_rotation_prolongs_no_former_secret(records: Records) -> None:
    records.run(api_keys.create(KEY, FIRST))
    records.run(api_keys.rotate(KEY.id, SECOND, 10))
    records.run(api_keys.rotate(KEY.id, THIRD, 60))
    records.wait(10)
    assert (left(records, FIRST), left(records, SECOND)) == (None, 0)
