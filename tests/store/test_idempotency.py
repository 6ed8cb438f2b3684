"""Idempotency keys: the same post twice is one job; a refused one can be sent again."""

import pytest

from tests.support.existing import existing
from tests.support.store import SETTINGS, Records

KEYED = {"idempotency": "key", "body_digest": "body"}


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


def test_key_tells_another_body_and_a_deleted_job(records: Records) -> None:
    view = records.accept(records.placing(), **KEYED)
    assert records.post(records.placing(), idempotency="key", body_digest="other").word == "mismatch"
    records.purge(view.id)
    assert records.post(records.placing(), **KEYED).word == "purged"
