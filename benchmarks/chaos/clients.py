"""One client per question, at whichever API answers; and the last reading, when everything is quiet.

A client submits until accepted and reads until the end. It retries answers that allow it, with the same
Idempotency-Key, and records all that it sees.
"""

import asyncio
import json
import random
import secrets
import time
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, NamedTuple

import httpx

from benchmarks.chaos.history import FAILURE, MODEL, Attempt, End, History, Story, end_of
from benchmarks.chaos.services import ADMIN_KEY, ChaosServices
from shared.job import LEAP

CHAT = "/v1/chat/completions"
DONE = "[DONE]"
RETRYABLE = frozenset({408, 429, 502, 503, 504})
PASSING = ("model_not_found", "model_failed")
ENDED = ("succeeded", "failed", "cancelled")
STREAMED = ("follow", "chat_stream")
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 1.0
"""Between two tries; shorter than Retry-After asks for, so that more of them meet a fault."""
LONG_POLL_S = 20
REPLAYS_AT_ONCE = 8
OPEN_AT_ONCE = 300
"""Questions that may be open at once; more would only wait in the queue."""
PATIENCE_S = 60.0
"""When no job has ended for so long, those that have not are stuck."""
TIMEOUT = httpx.Timeout(30, connect=5)
PAGE = 100


class SentEvent(NamedTuple):
    """One server-sent event; `name` is empty where none was given."""

    id: int
    name: str
    data: Any


async def sent_events(reply: httpx.Response) -> AsyncIterator[SentEvent]:
    """The events of a stream; comments are left out."""
    number, name, data = 0, "", ""
    async for line in reply.aiter_lines():
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


class Reading:
    """What came so far of a story's text; `last` is the number of the last event."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.last, self.text, self.over = 0, "", False

    async def read(self, events: AsyncIterator[SentEvent]) -> None:
        """Read one stream. It may break off at any place; a clean end before the job's end is a flaw."""
        async for event in events:
            if event.name == "error":
                self.broken(event.data)
                return
            self.add(event)
        if not self.over:
            self._story.flaws.append(f"the stream ended cleanly at {self.text[-30:]!r}")

    def broken(self, error: dict[str, Any]) -> None:
        """Note what the error means for the story."""

    def add(self, event: SentEvent) -> None:
        raise NotImplementedError


class Events(Reading):
    """A job's events, over several streams, each of which continues after the last event."""

    def add(self, event: SentEvent) -> None:
        if event.id != self.last + 1 and event.id <= self.last + LEAP:
            self._story.flaws.append(f"event {event.id} after event {self.last}")
        self.last = event.id
        if event.name == "text":
            if event.data["start"] != len(self.text):
                self._story.flaws.append(f"text from {event.data['start']} after {len(self.text)}")
            self.text += event.data["text"]
        elif "job" in event.data:
            self._finish(event)

    def _finish(self, event: SentEvent) -> None:
        self.over = True
        end = end_of(event.data["job"])
        if event.name != end.status or (end.status == "succeeded" and self.text != end.text):
            self._story.flaws.append(f"{event.name} after {self.text!r}, the job {end.status}: {end.text!r}")
        self._story.ends.add(end)


class Chat(Reading):
    """One streamed chat answer: the beginning of the right one, even if it breaks off."""

    def broken(self, error: dict[str, Any]) -> None:
        self.over = note_failure(self._story, error.get("error", {}))

    def add(self, event: SentEvent) -> None:
        if event.data == DONE:
            self.over = True
            self._story.ends.add(End("succeeded", self.text))
            return
        self.text += "".join(choice["delta"].get("content") or "" for choice in event.data["choices"])
        if not self._story.question.answer.startswith(self.text):
            self._story.flaws.append(f"streamed {self.text!r}")


def note_failure(story: Story, error: dict[str, Any]) -> bool:
    """Return whether a fault may end a job with this error; then it is the story's end."""
    if failed := error.get("code") == FAILURE:
        story.ends.add(End("failed", f"{error['code']}: {error['message']}"))
    return failed


class Client:
    """Asks for one story. `picture` is the address of the picture that some questions are about."""

    def __init__(
        self, http: httpx.AsyncClient, urls: list[str], story: Story, run: str, picture: str
    ) -> None:
        self._http, self._urls, self._story, self._picture = http, urls, story, picture
        self._dice = random.Random(story.question.number)  # noqa: S311
        self._headers = {"Idempotency-Key": f"{run}-{story.question.number}"}
        messages = [{"role": "user", "content": story.question.prompt}]
        self._chat_body = {"model": MODEL, "messages": messages}

    async def run(self) -> None:
        """Return at the story's end; the caller cancels what takes too long."""
        self._story.asked_at = time.time()
        match self._story.question.way:
            case "chat":
                await self._chat()
            case "chat_stream":
                await self._chat_stream()
            case "poll":
                await self.poll(await self.submit())
            case "follow":
                await self._follow(await self.submit())
        self._story.ended_at = time.time()

    async def submit(self) -> str:
        """Return the job once it is accepted, also one whose record was lost before its answer arrived."""
        question = self._story.question
        prompt = {"prompt": question.prompt} | ({"image": self._picture} if question.picture else {})
        async for reply in self._tries("POST", "/v1/jobs", json={"model": MODEL, "input": prompt}):
            if reply.status_code == 202:
                return str(reply.json()["id"])
            if self._has_failed(reply):
                return next(iter(self._story.ids), "")
            self._flaw(reply)
        raise AssertionError

    async def poll(self, job: str) -> None:
        """Return once it has ended."""
        async for reply in self._tries("GET", f"/v1/jobs/{job}", params={"wait": LONG_POLL_S}):
            if self._is_missing(reply):
                return
            if reply.status_code != 200:
                self._flaw(reply)
            elif (state := reply.json())["status"] in ENDED:
                self._story.ends.add(end_of(state))
                return

    async def _follow(self, job: str) -> None:
        """Read one text from however many streams it takes, each from the last event of the one before."""
        events = Events(self._story)
        while not events.over:
            headers = {"Last-Event-ID": str(events.last)} if events.last else {}
            reply = await self._read(events, "GET", f"/v1/jobs/{job}/events", headers=headers)
            if reply is not None and _error_of(reply).get("code") == "stream_rewound":
                # The client has read more than the store has after a fault.
                await self.poll(job)
                return
            if reply is not None and self._is_missing(reply):
                return
            if not events.over:
                await self._pause()

    async def _chat(self) -> None:
        async for reply in self._tries("POST", CHAT, json=self._chat_body):
            if reply.status_code == 200:
                self._story.ends.add(End("succeeded", reply.json()["choices"][0]["message"]["content"]))
                return
            if self._has_failed(reply):
                return
            self._flaw(reply)

    async def _chat_stream(self) -> None:
        """Ask again, from the beginning, for an answer that breaks off."""
        body = self._chat_body | {"stream": True}
        while True:
            chat = Chat(self._story)
            reply = await self._read(chat, "POST", CHAT, json=body, headers=self._headers)
            if reply is not None and reply.status_code != 200:
                if self._has_failed(reply):
                    return
                if not is_refused_for_now(reply):
                    self._flaw(reply)
            if chat.over:
                return
            await self._pause()

    async def _read(self, reading: Reading, method: str, path: str, **options: Any) -> httpx.Response | None:
        """Read one stream to its end; return None if the connection broke."""
        try:
            async with self._http.stream(method, f"{self._url()}{path}", **options) as reply:
                self._story.accept(reply)
                if reply.status_code == 200:
                    await reading.read(sent_events(reply))
                else:
                    await reply.aread()
                return reply
        except httpx.TransportError:
            return None

    async def _tries(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        """Yield answers until the caller stops asking; retry in between if an answer allows it."""
        headers = self._headers if method == "POST" else {}
        while True:
            try:
                reply = await self._http.request(method, f"{self._url()}{path}", headers=headers, **options)
                self._story.accept(reply)
                if not is_refused_for_now(reply):
                    yield reply
                    if reply.status_code == 200 and method == "GET":
                        continue
            except httpx.TransportError:
                pass
            await self._pause()

    def _url(self) -> str:
        return self._dice.choice(self._urls)

    async def _pause(self) -> None:
        await asyncio.sleep(self._dice.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S))

    def _is_missing(self, reply: httpx.Response) -> bool:
        self._story.missing |= reply.status_code in (404, 410)
        return self._story.missing

    def _has_failed(self, reply: httpx.Response) -> bool:
        """Return whether the job ended with an error that a fault may cause, or its record is gone."""
        error = _error_of(reply)
        self._story.missing |= error.get("code") == "result_expired"
        return note_failure(self._story, error) or self._story.missing

    def _flaw(self, reply: httpx.Response) -> None:
        self._story.flaws.append(f"answered {reply.status_code} {reply.text[:200]}")


def is_refused_for_now(reply: httpx.Response) -> bool:
    """Whether to ask again: also where a fault has removed the model or killed its load, and that passes."""
    return reply.status_code in RETRYABLE or _error_of(reply).get("code") in PASSING


def _error_of(reply: httpx.Response) -> dict[str, Any]:
    if reply.status_code < 400:
        return {}
    body: dict[str, Any] = reply.json()
    error: dict[str, Any] = body.get("error") or body
    return error


def http_client(idle: int) -> httpx.AsyncClient:
    """Keep at most `idle` connections between calls."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=idle)
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    return httpx.AsyncClient(limits=limits, timeout=TIMEOUT, headers=headers, trust_env=False)


async def ask_all(
    http: httpx.AsyncClient,
    opened: ChaosServices,
    stories: list[Story],
    rate: float,
    all_asked: asyncio.Event,
) -> None:
    """Ask at a rate, and slower while too many questions are open."""
    places = asyncio.Semaphore(OPEN_AT_ONCE)
    name, began = secrets.token_hex(4), time.monotonic()
    async with asyncio.TaskGroup() as clients:
        for number, story in enumerate(stories):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await places.acquire()
            client = clients.create_task(Client(http, opened.urls, story, name, opened.picture).run())
            client.add_done_callback(lambda _: places.release())
        all_asked.set()


async def answered(asking: Collection[asyncio.Task[None]], history: History) -> None:
    """Wait until all have their answers, or none came for PATIENCE_S; questions without one are stuck."""
    before, waiting = history.open + 1, set(asking)
    while waiting and history.open < before:
        before = history.open
        _, waiting = await asyncio.wait(waiting, timeout=PATIENCE_S)
    for task in set(asking) - waiting:
        task.result()


async def read_all(callers: Sequence[httpx.AsyncClient], urls: list[str], history: History) -> None:
    """Every API lists all callers' jobs, and every stream of the first caller's is replayed: adds what is
    reported now to the history.
    """
    for url in urls:
        jobs = {id: job for http in callers for id, job in (await _list(http, url)).items()}
        history.listed |= jobs.keys()
        for story in history.stories:
            for job in story.ids:
                _compare(story, jobs.get(job))
    places = asyncio.Semaphore(REPLAYS_AT_ONCE)
    streamed = [story for story in history.stories if story.question.way in STREAMED]
    await asyncio.gather(*(_replay(callers[0], urls, story, places) for story in streamed))


async def _list(http: httpx.AsyncClient, url: str) -> dict[str, dict[str, Any]]:
    jobs: dict[str, dict[str, Any]] = {}
    after: dict[str, str] = {}
    while True:
        page = (await http.get(f"{url}/v1/jobs", params={"limit": PAGE, **after})).json()
        jobs |= {job["id"]: job for job in page["data"]}
        if not page["has_more"]:
            return jobs
        after = {"after": page["last_id"]}


def _compare(story: Story, job: dict[str, Any] | None) -> None:
    if job is None:
        story.missing = True
        return
    names = ("number", "worker", "started_at", "ended_at", "outcome")
    story.attempts = tuple(Attempt(*(row[name] for name in names)) for row in job["attempts"])
    if job["ended_at"]:
        story.life = (job["created_at"], job["ended_at"])
        story.ends.add(end_of(job))


async def _replay(http: httpx.AsyncClient, urls: list[str], story: Story, places: asyncio.Semaphore) -> None:
    """The whole stream from its first event on; skips jobs that have not ended, whose streams would hang."""
    if not story.ends or story.missing:
        return
    url = urls[story.question.number % len(urls)]
    async with places:
        for job in story.ids:
            async with http.stream("GET", f"{url}/v1/jobs/{job}/events") as reply:
                await Events(story).read(sent_events(reply))
