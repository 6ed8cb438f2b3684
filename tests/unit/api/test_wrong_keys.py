"""Who tries many wrong keys waits; who sits behind the same address with a good one does not."""

from contextlib import nullcontext

import pytest

from api.auth import api_keys
from api.auth.api_keys import BURST, GuessLimit
from shared.errors import Unavailable


@pytest.fixture
def limit() -> GuessLimit:
    return GuessLimit(lambda: 1000.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8", False),
        ("", "", True),
    ],
)
def test_one_customer_s_addresses_are_one(limit: GuessLimit, one: str, other: str, same: bool) -> None:
    for _ in range(BURST):
        limit.check(one)
        limit.wrong(one)
    with pytest.raises(Unavailable) if same else nullcontext():
        limit.check(other)


def test_many_addresses_do_not_fill_the_memory(limit: GuessLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MOST_ADDRESSES", 3)
    for number in range(10):
        limit.wrong(f"192.0.2.{number}")
        assert len(limit._full_at) <= 3
