import asyncio
import gc
import weakref
from contextlib import suppress

import pytest

from api.server import memory_budget
from api.server.memory_budget import FREE, MemoryBudget, Reservation, reserved
from shared.errors import Unavailable


async def test_small_requests_need_no_room() -> None:
    budget = MemoryBudget(0)
    for _ in range(100):
        await Reservation(budget).take(FREE)


async def test_many_large_requests_at_once_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 3600.0)
    budget = MemoryBudget(3 * FREE)
    first, second = Reservation(budget), Reservation(budget)
    await first.take(2 * FREE)
    waiting = asyncio.ensure_future(second.take(2 * FREE))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.05)
    await first.release()
    await waiting


async def test_who_came_first_is_never_kept_waiting_by_those_behind() -> None:
    budget = MemoryBudget(2 * FREE)
    first, second = Reservation(budget), Reservation(budget)
    await first.take(FREE + 1)
    await second.take(FREE - 1)
    for _ in range(100):
        await first.take(FREE)


async def test_a_request_that_waits_for_room_too_long_is_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 0.01)
    budget = MemoryBudget(FREE)
    first, second = Reservation(budget), Reservation(budget)
    await first.take(10 * FREE)
    with pytest.raises(Unavailable) as refused:
        await second.take(10 * FREE)
    assert (refused.value.code, refused.value.status) == ("queue_full", 503)
    await second.release()
    await first.release()
    await first.release()
    await Reservation(budget).take(10 * FREE)


async def test_one_caller_s_large_requests_leave_room_for_another_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 3600.0)
    budget = MemoryBudget(8 * FREE)
    held = [Reservation(budget, "greedy") for _ in range(4)]
    for luggage_ in held[:2]:
        await luggage_.take(2 * FREE)
    more = [asyncio.ensure_future(luggage_.take(2 * FREE)) for luggage_ in held[2:]]
    await asyncio.sleep(0)
    await asyncio.wait_for(Reservation(budget, "other").take(4 * FREE), 1)
    assert not any(take.done() for take in more)
    await held[0].release()
    await more[0]
    more[1].cancel()


async def test_a_caller_s_first_large_request_is_read_to_its_end_beside_its_others() -> None:
    budget = MemoryBudget(8 * FREE)
    await Reservation(budget, "other").take(2 * FREE)
    first, second = Reservation(budget, "busy"), Reservation(budget, "busy")
    await first.take(2 * FREE)
    await second.take(2 * FREE)
    await asyncio.wait_for(first.take(2 * FREE), 1)


async def test_room_goes_to_the_caller_who_holds_least() -> None:
    budget = MemoryBudget(8 * FREE)
    first, gone, busy, late = (Reservation(budget, name) for name in ("first", "gone", "busy", "late"))
    for luggage_, count in ((first, 2), (gone, 2), (busy, 4)):
        await luggage_.take(count * FREE)
    waiting = asyncio.ensure_future(busy.take(2 * FREE))
    later = asyncio.ensure_future(late.take(2 * FREE))
    await asyncio.sleep(0)
    await gone.release()
    await asyncio.wait_for(later, 1)
    assert not waiting.done()
    waiting.cancel()


async def test_a_refused_call_is_forgotten_with_all_that_it_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that serves for months refuses many."""
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 0)
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


async def test_room_that_fits_exactly_is_given_and_not_a_byte_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 0)
    budget = MemoryBudget(4 * FREE)
    await Reservation(budget).take(2 * FREE)
    with pytest.raises(Unavailable):
        await Reservation(budget).take(2 * FREE + 1)
    await Reservation(budget).take(2 * FREE)


async def test_half_of_the_room_is_one_caller_s_to_the_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 0)
    budget = MemoryBudget(8 * FREE)
    await Reservation(budget, "other").take(2 * FREE)
    await Reservation(budget, "busy").take(2 * FREE)
    with pytest.raises(Unavailable):
        await Reservation(budget, "busy").take(2 * FREE + 1)
    await Reservation(budget, "busy").take(2 * FREE)


async def test_a_page_gives_its_room_back_where_it_could_not_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 0)
    budget = MemoryBudget(2 * FREE)
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            async with reserved(budget, "one", 2 * FREE):
                raise ValueError("broken")
    await Reservation(budget, "other").take(2 * FREE)


async def test_who_has_no_key_may_take_all_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is one caller then: half of the room would be nobody's."""
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 0.01)
    for shared, code in ((False, None), (True, "queue_full")):
        budget, refused = MemoryBudget(4 * FREE, shared=shared), list[str]()
        async with reserved(budget, "local", 2 * FREE):
            try:
                async with reserved(budget, "local", 2 * FREE):
                    pass
            except Unavailable as error:
                refused.append(error.code)
        assert refused == ([code] if code else [])
