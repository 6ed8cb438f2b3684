"""Who tries many wrong keys waits; who sits behind the same address with a good one does not."""

import pytest

from api.auth import wrong_keys
from api.auth.wrong_keys import BURST, GuessLimit
from shared.errors import Unavailable


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refused(found: GuessLimit, address: str) -> float | None:
    """Seconds to wait, None where a try is left."""
    try:
        found.check(address)
    except Unavailable as error:
        return error.retry_after
    return None


def tries(found: GuessLimit, address: str, count: int) -> None:
    for _ in range(count):
        assert refused(found, address) is None
        found.wrong(address)


def test_an_address_has_so_many_tries_at_once_and_one_more_each_second(clock: Clock) -> None:
    found = GuessLimit(clock)
    tries(found, "192.0.2.7", BURST)
    wait_s = refused(found, "192.0.2.7")
    assert wait_s is not None
    assert 0 < wait_s <= 1
    assert refused(found, "192.0.2.8") is None, "others are not made to wait"
    clock.now += wait_s
    tries(found, "192.0.2.7", 1)
    assert refused(found, "192.0.2.7") is not None
    clock.now += BURST
    tries(found, "192.0.2.7", BURST)


def test_tries_are_not_saved_up(clock: Clock) -> None:
    found = GuessLimit(clock)
    tries(found, "192.0.2.7", 1)
    clock.now += 86_400
    tries(found, "192.0.2.7", BURST)
    assert refused(found, "192.0.2.7") is not None


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
def test_one_customer_s_addresses_are_one(clock: Clock, one: str, other: str, same: bool) -> None:
    found = GuessLimit(clock)
    tries(found, one, BURST)
    assert (refused(found, other) is not None) is same


def test_many_addresses_do_not_fill_the_memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_keys, "MOST_ADDRESSES", 3)
    found = GuessLimit(clock)
    for number in range(10):
        found.wrong(f"192.0.2.{number}")
        assert len(found._full_at) <= 3
