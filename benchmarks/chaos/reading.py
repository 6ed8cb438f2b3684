"""The last reading, when everything is quiet: every API lists all jobs, and every stream is replayed."""

import asyncio
from typing import Any

import httpx

from benchmarks.chaos.history import Attempt, History, Story, end_of
from benchmarks.chaos.streams import Events, sent_events

AT_ONCE = 8
PAGE = 100
STREAMED = ("follow", "chat_stream")


async def read_all(http: httpx.AsyncClient, urls: list[str], history: History) -> None:
    """Adds what is told now to what was told before; the checker compares."""
    for url in urls:
        listed = await _list(http, url)
        history.listed |= listed.keys()
        for story in history.stories:
            for job in story.ids:
                _compare(story, listed.get(job))
    room = asyncio.Semaphore(AT_ONCE)
    streamed = [story for story in history.stories if story.question.way in STREAMED]
    await asyncio.gather(*(_replay(http, urls, story, room) for story in streamed))


async def _list(http: httpx.AsyncClient, url: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    after: dict[str, str] = {}
    while True:
        page = (await http.get(f"{url}/v1/jobs", params={"limit": PAGE, **after})).json()
        found |= {job["id"]: job for job in page["data"]}
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}


def _compare(story: Story, told: dict[str, Any] | None) -> None:
    if told is None:
        story.missing = True
        return
    story.cache = told.get("cache") or ""
    story.attempts = tuple(_attempt(row) for row in told["attempts"])
    if told["ended_at"]:
        story.ends.add(end_of(told))


def _attempt(row: dict[str, Any]) -> Attempt:
    return Attempt(row["number"], row["worker"], row["started_at"], row["ended_at"], row["outcome"])


async def _replay(http: httpx.AsyncClient, urls: list[str], story: Story, room: asyncio.Semaphore) -> None:
    """The whole stream from its first event on; skips jobs that have not ended, whose streams would hang."""
    if not story.ends or story.missing:
        return
    url = urls[story.question.number % len(urls)]
    async with room:
        for job in story.ids:
            async with http.stream("GET", f"{url}/v1/jobs/{job}/events") as reply:
                await Events(story).read(sent_events(reply.aiter_lines()))
