"""Many who watch the same thing cost one look."""

import asyncio

import pytest

from api.jobs.live import SharedPolls
from shared.errors import Unavailable

AWAY = Unavailable("store_unavailable", "The record store is away.")


async def test_watchers_of_the_same_thing_share_a_look() -> None:
    looks, shared = [], SharedPolls()

    async def look() -> dict[str, str]:
        looks.append(1)
        await asyncio.sleep(0)
        return {"job_1": "queued"}

    seen = await asyncio.gather(*(shared.marks("one", look) for _ in range(5)))
    await shared.marks("other", look)
    assert (seen, len(looks)) == ([{"job_1": "queued"}] * 5, 2)


async def test_a_later_look_is_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.jobs.live.POLL_S", 0)
    shared, states = SharedPolls(), iter(({"a": 1}, {"a": 2}))

    async def look() -> dict[str, int]:
        return next(states)

    assert [await shared.marks("one", look) for _ in range(2)] == [{"a": 1}, {"a": 2}]
