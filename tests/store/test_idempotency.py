"""Idempotency keys: the same post twice is one job; a refused one can be sent again."""

import pytest

from tests.support.existing import existing
from tests.support.store import SETTINGS, Records

KEYED = {"idempotency": "key", "body_digest": "body"}


def test_the_same_post_twice_is_one_job(records: Records) -> None:
    first = records.post(records.placing(key=None), **KEYED)
    again = records.post(records.placing(key=None), **KEYED)
    assert first.view is not None
    assert (again.word, again.view) == ("known", records.view(first.view.id))
    assert records.page() == [first.view.id]


def test_a_repeat_after_the_end_gets_the_ended_job(records: Records) -> None:
    records.post(records.placing(key=None), **KEYED)
    records.settle(records.claim())
    again = records.accept(records.placing(key=None), **KEYED)
    assert again.status == "succeeded"


def test_another_body_under_the_same_key_is_a_mistake(records: Records) -> None:
    records.post(records.placing(), **KEYED)
    before = records.dump()
    assert records.post(records.placing(), idempotency="key", body_digest="other").word == "mismatch"
    assert records.dump() == before


def test_keys_are_the_caller_s_own(records: Records) -> None:
    first = records.accept(records.placing(), **KEYED)
    other = records.post(records.placing(caller="someone"), **KEYED)
    assert other.word == "queued"
    assert other.view is not None
    assert other.view.id != first.id


def test_a_purged_job_s_key_says_so(records: Records) -> None:
    view = records.accept(records.placing(), **KEYED)
    records.purge(view.id)
    assert records.post(records.placing(), **KEYED).word == "purged"
    assert records.post(records.placing(), idempotency="key", body_digest="other").word == "mismatch"


def test_a_key_whose_job_is_no_longer_kept_does_not_say_that_it_was_deleted(records: Records) -> None:
    """A caller's own `retain_s` may be shorter than a key is remembered."""
    view = records.accept(records.placing(), **KEYED, retain_s=30)
    records.settle(records.claim())
    records.client.pexpire(f"sl9:{view.id}", 0)
    assert records.post(records.placing(), **KEYED).word == "expired"


def test_deleting_a_job_says_nothing_of_the_one_that_its_key_was_used_for_since(records: Records) -> None:
    first = records.accept(records.placing(key=None), **KEYED)
    records.client.delete("sl9:idem:anyone:key")
    second = existing(records.post(records.placing(key=None), **KEYED).view)
    records.purge(first.id)
    records.client.delete(f"sl9:{second.id}")
    assert records.post(records.placing(), **KEYED).word == "expired"


@pytest.mark.parametrize(
    ("word", "ready", "blobs"), [("unready", True, ()), ("pictures", False, ("d" * 64,))]
)
def test_a_refused_post_frees_its_key(
    records: Records, word: str, ready: bool, blobs: tuple[str, ...]
) -> None:
    assert records.post(records.placing(blobs=blobs), **KEYED, must_be_ready=ready).word == word
    assert records.post(records.placing(), **KEYED).word == "queued"


def test_a_key_is_forgotten_after_its_time(records: Records) -> None:
    records.post(records.placing(), **KEYED)
    assert records.client.ttl("sl9:idem:anyone:key") == records.given(SETTINGS.retention.idempotency_s)


def test_a_cached_answer_is_remembered_under_its_key_too(records: Records) -> None:
    records.beat()
    records.answered("q")
    hit = records.post(records.placing("q"), **KEYED).view
    again = records.post(records.placing("q"), **KEYED).view
    assert hit == again
