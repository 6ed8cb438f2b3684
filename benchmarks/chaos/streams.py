"""Streams as their readers take them: piece by piece, with an eye on every seam."""

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from benchmarks.chaos.history import Story, end_of
from shared.job import LEAP

DONE = "[DONE]"


class SentEvent(NamedTuple):
    """One server-sent event; `name` is empty where none was given."""

    id: int
    name: str
    data: Any


async def sent_events(lines: AsyncIterator[str]) -> AsyncIterator[SentEvent]:
    """The events of a stream's lines; comments are left out."""
    number, name, data = 0, "", ""
    async for line in lines:
        field, _, value = line.partition(": ")
        if not line and data:
            yield SentEvent(number, name, data if data == DONE else json.loads(data))
            name, data = "", ""
        elif field == "id":
            number = int(value)
        elif field == "event":
            name = value
        elif field == "data":
            data += value


class Events:
    """A job's events, over several streams; `last` is where the next one has to go on."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.last = 0
        self.text = ""
        self.over = False

    async def read(self, events: AsyncIterator[SentEvent]) -> None:
        """One stream. It may break off at any place; ending without a word before the job's end is a flaw."""
        async for event in events:
            if event.name == "error":
                self._story.resumed += 1
                return
            self._take(event)
        if not self.over:
            self._story.flaws.append(f"the stream ended cleanly behind event {self.last}")

    def _take(self, event: SentEvent) -> None:
        if event.id != self.last + 1 and event.id <= self.last + LEAP:
            self._story.flaws.append(f"event {event.id} behind event {self.last}")
        self.last = event.id
        if event.name == "text":
            if event.data["start"] != len(self.text):
                self._story.flaws.append(f"text from {event.data['start']} behind {len(self.text)}")
            self.text += event.data["text"]
        elif "job" in event.data:
            self._finish(event)

    def _finish(self, event: SentEvent) -> None:
        self.over = True
        end = end_of(event.data["job"])
        if event.name != end.status or (end.status == "succeeded" and self.text != end.text):
            self._story.flaws.append(f"{event.name} behind {self.text!r}, the job {end.status}: {end.text!r}")
        self._story.ends.add(end)


class Chat:
    """One streamed chat answer."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.text = ""
        self.over = False

    async def read(self, events: AsyncIterator[SentEvent]) -> None:
        """To its end; one that breaks off has to be the beginning of the right answer all the same."""
        async for event in events:
            if event.name == "error":
                self._story.resumed += 1
                break
            if event.data == DONE:
                self.over = True
            else:
                self.text += "".join(choice["delta"].get("content") or "" for choice in event.data["choices"])
        else:
            if not self.over:
                self._story.flaws.append(f"the answer ended cleanly at {self.text[-30:]!r}")
        if not self._story.question.answer.startswith(self.text):
            self._story.flaws.append(f"streamed {self.text!r}")
