import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.clients import until
from worker.fetching.haul import LARGE_AT_ONCE, SMALL, Haul
from worker.fetching.outbound import OriginError
from worker.room import Room
from worker.turns import Turns


def test_who_wants_more_than_there_is_gets_all_and_not_nothing() -> None:
    room = Room(10)
    with room.taking(1000):
        pass
    with room.taking(10):
        pass


def test_a_large_one_is_not_starved_by_small_ones_that_come_later() -> None:
    room, waits, order = Room(10), threading.Event(), []

    def take(amount: int) -> None:
        waits.set()
        with room.taking(amount):
            order.append(amount)

    with ThreadPoolExecutor(2) as threads:
        with room.taking(5):
            large = threads.submit(take, 10)
            assert waits.wait(20)
            until(room._turn.locked, 20)
            small = threads.submit(take, 1)
        large.result(20)
        small.result(20)
    assert order == [10, 1]


def test_room_is_given_back_by_who_fails() -> None:
    room = Room(1)
    with pytest.raises(ValueError, match="x"), room.taking(1):
        raise ValueError("x")
    with room.taking(1):
        pass


def test_one_host_s_turns_are_not_another_s() -> None:
    turns = Turns(1)
    with turns.at("a", 0), turns.at("b", 0), pytest.raises(TimeoutError), turns.at("a", 0):
        pass
    with turns.at("a", 0):
        pass
    assert not turns._taken


def haul(places: threading.Semaphore, limit_s: float = 20, most: int = 50 * SMALL) -> Haul:
    return Haul(limit_s, most, threading.Event(), places)


def test_few_jobs_have_much_in_memory_at_once() -> None:
    places = threading.Semaphore(LARGE_AT_ONCE)
    large = [haul(places) for _ in range(LARGE_AT_ONCE)]
    for one in large:
        one.take(SMALL + 1)
        one.take(SMALL)
    late, small = haul(places, limit_s=0.05), haul(places)
    small.take(SMALL)
    with pytest.raises(TimeoutError):
        late.take(SMALL + 1)
    with large[0]:
        pass
    haul(places).take(2 * SMALL)


def test_a_job_that_is_over_gives_its_place_back_and_takes_nothing_more() -> None:
    places = threading.Semaphore(1)
    with haul(places) as first:
        first.take(2 * SMALL)
    with pytest.raises(TimeoutError):
        first.left()
    with pytest.raises(TimeoutError):
        first.take(2 * SMALL)
    assert places.acquire(timeout=0)


def test_a_job_s_pictures_have_a_sum() -> None:
    with (
        pytest.raises(OriginError, match="larger than 10 bytes together"),
        haul(threading.Semaphore(1), most=10) as one,
    ):
        one.take(11)
