"""A job's story: whole, from any place on, and while nothing happens."""

import json
from dataclasses import replace
from typing import Any

from api.answers.event_stream import keep_alive
from tests.support.app import application, serving
from tests.support.asgi_exchange import Exchange
from tests.support.fake_service import FakeService
from tests.support.jobs import FIRST, QUESTION, SUCCEEDED
from tests.support.views import QUEUED


def blocks(body: bytes) -> list[dict[str, str]]:
    """The events of a stream; comments left out."""
    parts = [p for p in body.decode().split("\n\n") if p and not p.startswith(":")]
    return [dict(line.split(": ", 1) for line in part.split("\n")) for part in parts]


async def test_the_events_of_a_job_are_its_whole_story() -> None:
    service = FakeService()
    async with serving(service) as client:
        await client.post("/v1/jobs", json=QUESTION)
        service.run(FIRST)
        service.say(FIRST, "A ")
        service.succeed(FIRST, "cat.")
        response = await client.get(f"/v1/jobs/{FIRST}/events")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    story = blocks(response.content)

    at = 1760000001.0
    ended = {**SUCCEEDED, "started_at": 1760000000.5}
    expected: list[tuple[str, str, dict[str, Any]]] = [
        ("1", "queued", {"job_id": FIRST, "at": at}),
        ("2", "running", {"job_id": FIRST, "at": at, "attempt": 1}),
        ("3", "text", {"job_id": FIRST, "at": at, "start": 0, "text": "A ", "ids": [0]}),
        ("4", "text", {"job_id": FIRST, "at": at, "start": 2, "text": "cat.", "ids": [0]}),
        ("5", "succeeded", {"job": ended, "at": at}),
    ]
    assert [(e["id"], e["event"], json.loads(e["data"])) for e in story] == expected


def test_a_waiting_reader_learns_how_long_a_model_takes_to_start() -> None:
    waiting = replace(QUEUED, waiting_reason="model_loading", ahead=0)
    assert keep_alive(waiting) == "queued: model loading, 0 ahead, starts in about 2 s"


async def test_an_idle_event_stream_says_where_the_job_stands_in_comments() -> None:
    service = FakeService()
    async with application(service, keepalive_s=0.01) as app:
        await Exchange(app, "POST", "/v1/jobs", chunks=(json.dumps(QUESTION).encode(),)).start().finish()
        stream = Exchange(app, "GET", f"/v1/jobs/{FIRST}/events").start()
        await stream.until(lambda e: b": queued: busy, 3 ahead\n\n" in e.body)
        service.run(FIRST)
        await stream.until(lambda e: b": running\n\n" in e.body)
        service.succeed(FIRST, "A cat.")
        await stream.finish()

    assert [e["event"] for e in blocks(stream.body)] == ["queued", "running", "text", "succeeded"]
    assert stream.complete


async def test_a_reader_who_leaves_changes_nothing() -> None:
    service = FakeService()
    async with application(service) as app:
        await Exchange(app, "POST", "/v1/jobs", chunks=(json.dumps(QUESTION).encode(),)).start().finish()
        stream = Exchange(app, "GET", f"/v1/jobs/{FIRST}/events").start()
        await stream.until(lambda e: bool(e.body))
        stream.hang_up()
        await stream.finish()

    assert service.views[FIRST].status == "queued"
