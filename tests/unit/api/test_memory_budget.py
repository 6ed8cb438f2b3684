import asyncio
import gc
import weakref
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import pytest

from api.server import memory_budget
from api.server.memory_budget import FREE, MemoryBudget, Reservation
from shared.errors import Unavailable


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 0)


async def begun(taking: "asyncio.Future[None]") -> bool:
    """Whether there is room at once."""
    for _ in range(3):
        await asyncio.sleep(0)
    return taking.done()


def taking(reservation: Reservation, count: float) -> "asyncio.Future[None]":
    return asyncio.ensure_future(reservation.take(int(count * FREE)))


async def test_many_large_requests_at_once_wait_for_one_another() -> None:
    budget = MemoryBudget(3 * FREE)
    first = Reservation(budget)
    await first.take(2 * FREE)
    waiting = taking(Reservation(budget), 2)
    assert not await begun(waiting)
    await first.release()
    await waiting


async def test_who_came_first_is_never_kept_waiting_by_those_behind() -> None:
    budget = MemoryBudget(2 * FREE)
    first = Reservation(budget)
    await first.take(FREE + 1)
    await Reservation(budget).take(FREE - 1)
    for _ in range(100):
        await first.take(FREE)


@pytest.mark.usefixtures("impatient")
async def test_a_request_that_waits_for_room_too_long_is_told_to_come_back() -> None:
    budget = MemoryBudget(FREE)
    first, second = Reservation(budget), Reservation(budget)
    await first.take(10 * FREE)
    with pytest.raises(Unavailable) as refused:
        await second.take(10 * FREE)
    assert (refused.value.code, refused.value.status) == ("queue_full", 503)
    for done in (second, first, first):
        await done.release()
    await Reservation(budget).take(10 * FREE)


async def test_one_caller_s_large_requests_leave_room_for_another_s() -> None:
    budget = MemoryBudget(8 * FREE)
    held = [Reservation(budget, "greedy") for _ in range(4)]
    for own in held[:2]:
        await own.take(2 * FREE)
    third, fourth = (taking(own, 2) for own in held[2:])
    await asyncio.wait_for(Reservation(budget, "other").take(4 * FREE), 1)
    assert not await begun(third)
    assert not fourth.done()
    await held[0].release()
    await third
    fourth.cancel()


async def test_a_caller_s_first_large_request_is_read_to_its_end_beside_its_others() -> None:
    budget = MemoryBudget(8 * FREE)
    first = Reservation(budget, "busy")
    for reservation in (Reservation(budget, "other"), first, Reservation(budget, "busy")):
        await reservation.take(2 * FREE)
    await asyncio.wait_for(first.take(2 * FREE), 1)


async def test_room_goes_to_the_caller_who_holds_least() -> None:
    budget = MemoryBudget(8 * FREE)
    first, gone, busy, late = (Reservation(budget, name) for name in ("first", "gone", "busy", "late"))
    for reservation, count in ((first, 2), (gone, 2), (busy, 4)):
        await reservation.take(count * FREE)
    waiting, later = taking(busy, 2), taking(late, 2)
    assert not await begun(waiting)
    await gone.release()
    await asyncio.wait_for(later, 1)
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.usefixtures("impatient")
async def test_a_refused_call_is_forgotten_with_all_that_it_held() -> None:
    """A process that serves for months refuses many."""
    budget = MemoryBudget(FREE)
    await Reservation(budget, "first").take(2 * FREE)

    async def refused() -> weakref.ref[Reservation]:
        reservation = Reservation(budget, "refused")
        with suppress(Unavailable):
            await reservation.take(2 * FREE)
        await reservation.release()
        return weakref.ref(reservation)

    reference = await asyncio.create_task(refused())
    gc.collect()
    assert reference() is None


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("room", "callers"), [(4, ("", "")), (8, ("other", "busy", "busy"))])
async def test_all_room_or_half_is_one_caller_s_to_the_last_byte(room: int, callers: tuple[str, ...]) -> None:
    budget = MemoryBudget(room * FREE)
    for caller in callers[:-1]:
        await Reservation(budget, caller).take(2 * FREE)
    with pytest.raises(Unavailable):
        await Reservation(budget, callers[-1]).take(2 * FREE + 1)
    await Reservation(budget, callers[-1]).take(2 * FREE)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("shared", "room"), [(False, nullcontext()), (True, pytest.raises(Unavailable))])
async def test_who_has_no_key_may_take_all_room(shared: bool, room: AbstractContextManager[Any]) -> None:
    """Everybody is one caller then: half of the room would be nobody's."""
    budget = MemoryBudget(4 * FREE, shared=shared)
    await Reservation(budget, "local").take(2 * FREE)
    with room:
        await Reservation(budget, "local").take(2 * FREE)
