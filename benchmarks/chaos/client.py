"""One client per question: it submits until accepted, and reads until the end, at whichever API answers.

It retries answers that allow it, with the same Idempotency-Key, and records all that it sees.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx

from benchmarks.chaos.history import End, Story, end_of
from benchmarks.chaos.site import MODEL
from benchmarks.chaos.streams import Chat, Events, sent_events

RETRYABLE = frozenset({408, 429, 502, 503, 504})
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 1.0
"""Between two tries; shorter than Retry-After asks for, so that more of them meet a fault."""
LONG_POLL_S = 20
ENDED = ("succeeded", "failed", "cancelled")


class Client:
    """Asks for one story's sake. `picture` is the address of the picture that some questions are about."""

    def __init__(
        self, http: httpx.AsyncClient, urls: list[str], story: Story, run: str, picture: str
    ) -> None:
        self._http = http
        self._urls = urls
        self._story = story
        self._picture = picture
        self._dice = random.Random(story.question.number)  # noqa: S311
        self._headers = {"Idempotency-Key": f"{run}-{story.question.number}"}

    async def run(self) -> None:
        """Until the end was seen; the caller cancels what takes too long."""
        way = self._story.question.way
        if way == "chat":
            await self._chat()
        elif way == "chat_stream":
            await self._chat_stream()
        else:
            job = await self._submit()
            await (self._poll(job) if way == "poll" else self._follow(job))
        self._story.ended_at = time.time()

    async def _submit(self) -> str:
        question = self._story.question
        asked = {"prompt": question.prompt} | ({"image": self._picture} if question.picture else {})
        body = {"model": MODEL, "input": asked}
        async for reply in self._tries("POST", "/v1/jobs", json=body):
            if reply.status_code == 202:
                return str(reply.json()["id"])
            self._flaw(reply)
        raise AssertionError

    async def _poll(self, job: str) -> None:
        async for reply in self._tries("GET", f"/v1/jobs/{job}", params={"wait": LONG_POLL_S}):
            if reply.status_code in (404, 410):
                self._story.missing = True
                return
            if reply.status_code != 200:
                self._flaw(reply)
            elif self._noted(reply.json()):
                return

    async def _follow(self, job: str) -> None:
        """One text from however many streams it takes, each from behind the last event of the one before."""
        events = Events(self._story)
        while not events.over:
            headers = {"Last-Event-ID": str(events.last)} if events.last else {}
            try:
                async with self._http.stream(
                    "GET", f"{self._url()}/v1/jobs/{job}/events", headers=headers
                ) as reply:
                    if reply.status_code in (404, 410):
                        self._story.missing = True
                        return
                    if reply.status_code == 200:
                        await events.read(sent_events(reply.aiter_lines()))
            except httpx.TransportError:
                self._story.resumed += 1
            if not events.over:
                await self._pause()

    async def _chat(self) -> None:
        async for reply in self._tries("POST", "/v1/chat/completions", json=self._chat_body()):
            if reply.status_code == 200:
                self._end(End("succeeded", reply.json()["choices"][0]["message"]["content"]))
                return
            self._flaw(reply)

    async def _chat_stream(self) -> None:
        """An answer that breaks off is asked for again, from its beginning."""
        body = self._chat_body() | {"stream": True}
        while True:
            chat = Chat(self._story)
            try:
                async with self._http.stream(
                    "POST", f"{self._url()}/v1/chat/completions", json=body, headers=self._headers
                ) as reply:
                    self._saw(reply)
                    if reply.status_code == 200:
                        await chat.read(sent_events(reply.aiter_lines()))
                    elif reply.status_code not in RETRYABLE:
                        await reply.aread()
                        self._flaw(reply)
            except httpx.TransportError:
                self._story.resumed += 1
            if chat.over:
                self._end(End("succeeded", chat.text))
                return
            await self._pause()

    async def _tries(self, method: str, path: str, **given: Any) -> AsyncIterator[httpx.Response]:
        """Yields answers until the caller stops asking; retries in between where an answer allows it."""
        while True:
            try:
                reply = await self._http.request(
                    method, f"{self._url()}{path}", headers=self._headers if method == "POST" else {}, **given
                )
                self._saw(reply)
                if reply.status_code not in RETRYABLE:
                    yield reply
                    if reply.status_code == 200 and method == "GET":
                        continue
            except httpx.TransportError:
                pass
            self._story.retries += 1
            await self._pause()

    def _chat_body(self) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": self._story.question.prompt}]}

    def _url(self) -> str:
        return self._dice.choice(self._urls)

    async def _pause(self) -> None:
        await asyncio.sleep(self._dice.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S))

    def _saw(self, reply: httpx.Response) -> None:
        self._story.saw(reply.headers.get("x-job-id"), time.time())

    def _noted(self, job: dict[str, Any]) -> bool:
        """Whether this answer tells the job's end."""
        if job["status"] in ENDED:
            self._end(end_of(job))
            return True
        return False

    def _end(self, end: End) -> None:
        self._story.ends.add(end)

    def _flaw(self, reply: httpx.Response) -> None:
        self._story.flaws.append(f"answered {reply.status_code} {reply.text[:200]}")
