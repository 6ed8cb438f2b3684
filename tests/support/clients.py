"""Waiting for what another process does, and reading what the service tells."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeVar

import httpx
from pydantic_core import from_json

from tests.support.patience import PATIENCE_S

T = TypeVar("T")
PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.2
"""How long a test waits for something that must happen; longer only fails later."""


def until(look: Callable[[], T | Literal[False]], deadline_s: float = PATIENCE_S) -> T:
    """The first true answer of `look`; the test fails where none came in time."""
    pause, pause_s, end = threading.Event(), PAUSE_S, time.monotonic() + deadline_s
    while not (seen := look()):
        if time.monotonic() > end:
            raise AssertionError(f"{getattr(look, '__qualname__', look)} was not true within {deadline_s} s")
        pause.wait(pause_s)
        pause_s = min(pause_s * 1.1, LONGEST_PAUSE_S)
    return seen


async def until_async(look: Callable[[], Awaitable[T | Literal[False]]], deadline_s: float = PATIENCE_S) -> T:
    """As `until`, while the event loop goes on."""
    async with asyncio.timeout(deadline_s):
        while not (seen := await look()):
            await asyncio.sleep(PAUSE_S)
    return seen


class SentEvent(NamedTuple):
    """One server-sent event."""

    id: int
    name: str
    data: Any


def sent_events(lines: Iterable[str]) -> Iterator[SentEvent]:
    """The events of a stream's lines; comments are left out, `[DONE]` stays a string."""
    number, name, data = 0, "", ""
    for line in lines:
        field, _, value = line.partition(": ")
        if not line and data:
            yield SentEvent(number, name, data if data == "[DONE]" else from_json(data))
            name, data = "", ""
        elif field == "id":
            number = int(value)
        elif field == "event":
            name = value
        elif field == "data":
            data += value


def told(events: Iterable[SentEvent]) -> str:
    """The text of a job's events, after checking that it has neither gap nor repeat."""
    text = ""
    for event in events:
        if event.name == "text":
            assert event.data["start"] == len(text)
            text += event.data["text"]
    return text


class Api(httpx.Client):
    """A caller of one API process."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, timeout=PATIENCE_S)

    def submit(self, **body: Any) -> str:
        """A new job's id."""
        reply = self.post("/v1/jobs", json=body)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    def job(self, job: str, wait_s: int = 0) -> dict[str, Any]:
        reply = self.get(f"/v1/jobs/{job}", params={"wait": wait_s})
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def ended(self, job: str) -> dict[str, Any]:
        """The job after its end."""
        return until(lambda: (seen := self.job(job, 30))["ended_at"] and seen)

    def running(self, job: str) -> dict[str, Any]:
        """The job once a worker has taken it."""
        return until(lambda: (seen := self.job(job))["status"] == "running" and seen)

    @contextmanager
    def paused(self, model: str) -> Iterator[None]:
        self.post(f"/v1/admin/models/{model}/pause").raise_for_status()
        try:
            yield
        finally:
            self.post(f"/v1/admin/models/{model}/resume")

    def events(self, job: str, after: int | None = None) -> list[SentEvent]:
        """A job's whole stream, behind one id where one is given."""
        headers = {} if after is None else {"last-event-id": str(after)}
        with self.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as reply:
            assert reply.status_code == 200
            return list(sent_events(reply.iter_lines()))
