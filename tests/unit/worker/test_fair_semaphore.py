import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from shared.errors import Unavailable
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from worker.fair_semaphore import FairSemaphore, KeyedFairSemaphore, Waiter
from worker.fetching.guarded_http import OriginError
from worker.fetching.intake import LARGE_JOBS, SMALL, JobAllowance

ANYONE = Waiter("")


def test_who_wants_more_than_there_is_gets_all_and_not_nothing() -> None:
    room = FairSemaphore(10)
    with room.reserve(1000, ANYONE):
        pass
    with room.reserve(10, ANYONE):
        pass


def test_a_large_one_is_not_starved_by_small_ones_that_come_later() -> None:
    room, order = FairSemaphore(10), list[int]()

    def take(amount: int) -> None:
        with room.reserve(amount, ANYONE):
            order.append(amount)

    with ThreadPoolExecutor(2) as threads:
        with room.reserve(5, ANYONE):
            threads.submit(take, 10)
            until(lambda: len(room._waiting) == 1)
            threads.submit(take, 1)
            until(lambda: len(room._waiting) == 2)
        until(lambda: len(order) == 2)
    assert order == [10, 1]


@pytest.mark.parametrize(
    ("holder", "held", "wanted"), [("mallory", 5, 1), ("eve", 10, 0)], ids=["what is left", "nothing"]
)
def test_a_caller_s_large_one_that_waits_holds_up_nobody_who_wants(
    holder: str, held: int, wanted: int
) -> None:
    room = FairSemaphore(10)

    def take(amount: int, caller: str) -> None:
        with room.reserve(amount, Waiter(caller)):
            pass

    with ThreadPoolExecutor(2) as threads, room.reserve(held, Waiter(holder)):
        threads.submit(take, 10, "mallory")
        until(lambda: room._waiting)
        threads.submit(take, wanted, "alice").result(PATIENCE_S)


def test_room_is_given_back_by_who_fails() -> None:
    room = FairSemaphore(1)
    with pytest.raises(ValueError, match="x"), room.reserve(1, ANYONE):
        raise ValueError("x")
    with room.reserve(1, ANYONE):
        pass


def test_one_host_s_turns_are_not_another_s() -> None:
    turns = KeyedFairSemaphore(1)
    with (
        turns.reserve("a", "", 0),
        turns.reserve("b", "", 0),
        pytest.raises(TimeoutError),
        turns.reserve("a", "", 0),
    ):
        pass
    with turns.reserve("a", "", 0):
        pass
    assert not turns._keys


def test_who_has_fewest_turns_is_let_in_before_all_that_another_waits_for() -> None:
    turns, order = KeyedFairSemaphore(2), list[str]()

    def take(caller: str) -> None:
        with turns.reserve("a", caller, 20):
            order.append(caller)

    def waiting(count: int) -> None:
        until(lambda: len(turns._keys["a"]._waiting) == count)

    with ThreadPoolExecutor(4) as threads, turns.reserve("a", "mallory", 0):
        with turns.reserve("a", "eve", 0):
            for count, caller in enumerate(["mallory", "mallory", "alice"]):
                threads.submit(take, caller)
                waiting(count + 1)
        until(lambda: order == ["alice"])
    assert order == ["alice", "mallory", "mallory"]


def test_the_last_turn_is_left_to_who_comes_later() -> None:
    turns = KeyedFairSemaphore(2)
    with turns.reserve("a", "mallory", 0):
        with pytest.raises(TimeoutError), turns.reserve("a", "mallory", 0):
            pass
        with turns.reserve("a", "alice", 0):
            pass


def haul(
    places: KeyedFairSemaphore, limit_s: float = 20, most: int = 50 * SMALL, caller: str = ""
) -> JobAllowance:
    return JobAllowance(limit_s, most, threading.Event(), places, caller)


def test_few_jobs_have_much_in_memory_at_once() -> None:
    places = KeyedFairSemaphore(LARGE_JOBS)
    large = [haul(places, caller=str(number)) for number in range(LARGE_JOBS)]
    for one in large:
        one.count_bytes(SMALL + 1)
        one.count_bytes(SMALL)
    late, small = haul(places, limit_s=1), haul(places)
    small.count_bytes(SMALL)
    with pytest.raises(Unavailable):
        late.count_bytes(SMALL + 1)
    with large[0]:
        pass
    haul(places).count_bytes(2 * SMALL)


def test_waiting_for_a_place_costs_the_origin_none_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    class Crowded(KeyedFairSemaphore):
        def reserve(self, *_: Any) -> Any:
            clock[0] += 5
            return nullcontext()

    monkeypatch.setattr("worker.fetching.guarded_http.time", SimpleNamespace(monotonic=lambda: clock[0]))
    one = haul(Crowded(1), limit_s=5)
    one.count_bytes(2 * SMALL)
    assert one.remaining_s() == 5


def test_a_job_that_waits_for_its_own_fetches_is_slow_and_not_crowded_out() -> None:
    """It would be fetched again and again for ever: it is in its own way each time."""
    turns = KeyedFairSemaphore(2)
    one = haul(turns, limit_s=0.1)
    with one.place(turns, "a"), pytest.raises(TimeoutError), one.place(turns, "a"):
        pass
    with haul(turns, caller="eve").place(turns, "a"), one.place(turns, "b"):
        pass


def test_a_job_that_is_over_gives_its_place_back_and_takes_nothing_more() -> None:
    places = KeyedFairSemaphore(1)
    with haul(places) as first:
        first.count_bytes(2 * SMALL)
    with pytest.raises(TimeoutError):
        first.remaining_s()
    with pytest.raises(TimeoutError):
        first.count_bytes(2 * SMALL)
    assert not places._keys


def test_a_job_s_pictures_have_a_sum() -> None:
    with (
        pytest.raises(OriginError, match="larger than 10 bytes together"),
        haul(KeyedFairSemaphore(1), most=10) as one,
    ):
        one.count_bytes(11)


def test_a_job_is_not_to_blame_for_places_that_others_hold() -> None:
    turns = KeyedFairSemaphore(2)
    mine, theirs = haul(turns, limit_s=0.1, caller="me"), haul(turns, caller="them")
    others = theirs.place(turns, "host")
    with mine.place(turns, "host"), others, pytest.raises(Unavailable), mine.place(turns, "host"):
        pass
