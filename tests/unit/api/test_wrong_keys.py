"""Who tries many wrong keys waits; who sits behind the same address with a good one does not."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from api.auth import api_keys
from api.auth.api_keys import BURST, GuessLimit
from shared.errors import Unavailable

ADDRESS = "192.0.2.7"


@pytest.fixture
def clock() -> SimpleNamespace:
    return SimpleNamespace(now=1000.0)


@pytest.fixture
def limit(clock: SimpleNamespace) -> GuessLimit:
    now: Callable[[], float] = lambda: clock.now  # noqa: E731
    return GuessLimit(now)


def refused(limit: GuessLimit, address: str = ADDRESS) -> float | None:
    """Seconds to wait, None where a try is left."""
    try:
        limit.check(address)
    except Unavailable as error:
        return error.retry_after
    return None


def tries(limit: GuessLimit, count: int, address: str = ADDRESS) -> None:
    for _ in range(count):
        assert refused(limit, address) is None
        limit.wrong(address)


def test_an_address_has_some_tries_and_one_more_each_second(
    limit: GuessLimit, clock: SimpleNamespace
) -> None:
    tries(limit, BURST)
    wait_s = refused(limit) or 0
    assert 0 < wait_s <= 1
    assert refused(limit, "192.0.2.8") is None, "others are not made to wait"
    clock.now += wait_s
    tries(limit, 1)
    assert refused(limit) is not None
    clock.now += 86_400
    tries(limit, BURST)
    assert refused(limit) is not None, "tries are not saved up"


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
    tries(limit, BURST, one)
    assert (refused(limit, other) is not None) is same


def test_many_addresses_do_not_fill_the_memory(limit: GuessLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MOST_ADDRESSES", 3)
    for number in range(10):
        limit.wrong(f"192.0.2.{number}")
        assert len(limit._full_at) <= 3
