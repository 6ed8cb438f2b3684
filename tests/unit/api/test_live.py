"""Many who watch the same thing cost one look."""

import asyncio

from api.jobs.live import SharedPolls


async def test_watchers_of_the_same_thing_share_a_look() -> None:
    looks, shared = [], SharedPolls()

    async def look() -> dict[str, str]:
        looks.append(1)
        await asyncio.sleep(0)
        return {"job_1": "queued"}

    seen = await asyncio.gather(*(shared.marks("one", look) for _ in range(5)))
    await shared.marks("other", look)
    assert (seen, len(looks)) == ([{"job_1": "queued"}] * 5, 2)
