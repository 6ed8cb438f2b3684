import asyncio

import pytest

from api.wire import luggage
from api.wire.luggage import FREE, Luggage, Rack
from shared.errors import Unavailable


async def test_small_requests_need_no_room() -> None:
    rack = Rack(0)
    for _ in range(100):
        await Luggage(rack).take(FREE)


async def test_many_large_requests_at_once_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luggage, "WAIT_LIMIT_S", 3600.0)
    rack = Rack(3 * FREE)
    first, second = Luggage(rack), Luggage(rack)
    await first.take(2 * FREE)
    waiting = asyncio.ensure_future(second.take(2 * FREE))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.05)
    await first.leave()
    await waiting


async def test_who_came_first_is_never_kept_waiting_by_those_behind() -> None:
    rack = Rack(2 * FREE)
    first, second = Luggage(rack), Luggage(rack)
    await first.take(FREE + 1)
    await second.take(FREE - 1)
    for _ in range(100):
        await first.take(FREE)


async def test_a_request_that_waits_for_room_too_long_is_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(luggage, "WAIT_LIMIT_S", 0.01)
    rack = Rack(FREE)
    first, second = Luggage(rack), Luggage(rack)
    await first.take(10 * FREE)
    with pytest.raises(Unavailable) as refused:
        await second.take(10 * FREE)
    assert (refused.value.code, refused.value.status) == ("queue_full", 503)
    await second.leave()
    await first.leave()
    await first.leave()
    await Luggage(rack).take(10 * FREE)
