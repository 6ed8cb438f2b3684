"""What operators did stays written down: each act once, with who, what, when and how it went."""

import pytest

from shared.api_keys import ApiKey, Operator
from shared.store import api_keys, models
from shared.store.api_keys import by
from tests.support.store import LANE, START_MS, Records

ANNE = Operator("key_0a", "Anne", "192.0.2.7", "req_1")
KEY = ApiKey("key_0b", "shop", "shop", ("read",), START_MS)


def said(records: Records, after: str | None = None, limit: int = 100) -> list[tuple[str, str, str]]:
    """Newest first."""
    return [(d.action, d.subject, d.outcome) for d in records.run(api_keys.page(after, limit))]


def test_an_act_that_is_asked_for_again_as_its_answer_was_lost_is_written_down_once(records: Records) -> None:
    for _ in range(2):
        made = records.run(by(ANNE, "key.create", KEY.id, api_keys.create(KEY, "digest")))
        rotated = records.run(by(ANNE, "key.rotate", KEY.id, api_keys.rotate(KEY.id, "other", 60)))
        assert (made[0], rotated[0]) == ("done", "done")
    assert said(records) == [("key.rotate", KEY.id, "done"), ("key.create", KEY.id, "done")]


@pytest.mark.parametrize("after", ["0-0", "000-000", "0-1"])
def test_who_pages_on_from_before_the_first_act_gets_an_empty_page(records: Records, after: str) -> None:
    records.run(by(ANNE, "key.revoke", "key_1", api_keys.revoke("key_1")))
    assert said(records, after) == []


def test_the_log_does_not_grow_without_end(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MOST_ACTIONS", 3)
    for number in range(5):
        records.run(by(ANNE, "key.revoke", f"key_{number}", api_keys.revoke(f"key_{number}")))
    assert [subject for _, subject, _ in said(records)] == ["key_4", "key_3", "key_2"]


def test_what_was_typed_is_cut(records: Records) -> None:
    records.run(by(ANNE, "key.revoke", "x" * 50_000, api_keys.revoke("x" * 50_000)))
    assert len(said(records)[0][1]) == api_keys.LONGEST_SUBJECT


def test_the_resumption_of_a_drained_model_is_written_down_as_a_change(records: Records) -> None:
    records.drain()
    for _ in range(2):
        records.run(by(ANNE, "model.resume", "org/model", models.pause(LANE, paused=False)))
    assert said(records) == [
        ("model.resume", "org/model", "unchanged"),
        ("model.resume", "org/model", "done"),
    ]
