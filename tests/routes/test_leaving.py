"""Callers who hang up before their answer."""

import asyncio
from typing import Any

import pytest

from tests.support.app import application
from tests.support.desk import Desk
from tests.support.exchange import posted

CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What is this?"}]}
STREAM = {**CHAT, "stream": True}
FIRST = "job_00000000000000000000000000000001"


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_caller_who_hangs_up_frees_the_row(body: dict[str, Any]) -> None:
    desk = Desk()
    async with application(desk) as app:
        call = posted(app, body)
        await desk.submitted.wait()
        call.hang_up()
        await call.finish()
        await desk.cancelled.wait()

    assert desk.views[FIRST].status == "cancelled"


async def test_a_reader_who_hangs_up_in_mid_stream_frees_the_row() -> None:
    desk = Desk()
    async with application(desk) as app:
        call = posted(app, STREAM)
        await desk.submitted.wait()
        desk.say(FIRST, "A ")
        await call.until(lambda e: b'"A "' in e.body)
        call.hang_up()
        await call.finish()
        await desk.cancelled.wait()

    assert desk.views[FIRST].status == "cancelled"


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_caller_with_a_key_may_come_back_for_the_answer(body: dict[str, Any]) -> None:
    desk = Desk()
    async with application(desk) as app:
        for headers in ({"idempotency_key": "k-1"}, {}):
            desk.submitted.clear()
            call = posted(app, body, **headers)
            await desk.submitted.wait()
            call.hang_up()
            await call.finish()
        # The second caller's leaving comes behind the first's, had there been one.
        await desk.cancelled.wait()

    assert [view.status for view in desk.views.values()] == ["queued", "cancelled"]


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_when_this_process_stops_nobody_leaves(body: dict[str, Any]) -> None:
    desk = Desk()
    async with application(desk, leave_grace_s=3600) as app:
        call = posted(app, body)
        await desk.submitted.wait()
        call.hang_up()
        await call.finish()

    assert desk.views[FIRST].status == "queued"
    assert [t for t in asyncio.all_tasks() if t.get_name().startswith("leave ")] == []
