"""Readers of streams who take nothing: what is kept in memory for them."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest

from api.server.sse import EventStream
from shared.result import Choice
from shared.settings import ApiSettings
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange, posted

TINY = "sightline/tiny"
QUESTION, ANSWER = "What is this?", "An unread triangle."
JOB = {"model": TINY, "input": {"prompt": QUESTION}}
CHAT = {"model": TINY, "messages": [{"role": "user", "content": QUESTION}], "stream": True}
RESPONSE = {"model": TINY, "input": QUESTION, "stream": True}
HF = {"inputs": QUESTION, "stream": True}


class Reluctant:
    """Takes an answer up to where `last` stands in it, and nothing from there on."""

    def __init__(self, app: Any, last: bytes) -> None:
        self._app = app
        self._last = last
        self.waits = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def slowly(message: Any) -> None:
            if self._last in message.get("body", b""):
                self.waits.set()
                await asyncio.Event().wait()
            await send(message)

        await self._app(scope, receive, slowly)


@pytest.mark.parametrize(
    ("path", "body", "last"),
    [
        ("{job}/events", None, b"queued"),
        ("{job}/events", None, b"succeeded"),
        ("/v1/chat/completions", CHAT, b"assistant"),
        ("/v1/chat/completions", CHAT, b"[DONE]"),
        ("/v1/responses", RESPONSE, b"response.created"),
        ("/v1/responses", RESPONSE, b"response.completed"),
        (f"/models/{TINY}", HF, b"token"),
        (f"/models/{TINY}", HF, b'"generated_text":"'),
    ],
)
async def test_an_answer_is_not_kept_for_a_reader_who_takes_nothing(
    deployment: Deployment, path: str, body: dict[str, Any] | None, last: bytes
) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
        claim = deployment.worker.take()
        deployment.worker.say(claim, ANSWER)
        deployment.worker.succeed(claim, ANSWER)
        reader = Reluctant(deployment.app, last)
        path = path.format(job=job["urls"]["self"])
        stream = posted(reader, body, path) if body else Exchange(reader, "GET", path).start()
        async with asyncio.timeout(60):
            await reader.waits.wait()
        gc.collect()
        held = [found for found in gc.get_objects() if type(found) is Choice and found.text == ANSWER]
        stream.hang_up()
        await stream.finish()

    assert held == []


async def test_an_end_that_its_reader_could_not_take_is_not_forgotten(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB | {"store": False})).json()["urls"]["self"]
        deployment.worker.succeed(deployment.worker.take(), ANSWER)
        reader = Reluctant(deployment.app, b"event: succeeded")
        stream = Exchange(reader, "GET", f"{job}/events").start()
        async with asyncio.timeout(60):
            await reader.waits.wait()
        stream.hang_up()
        await stream.finish()
        again = await client.get(job)

    assert (again.status_code, again.json()["result"]["text"]) == (200, ANSWER)


async def test_a_block_is_sent_no_further_than_it_is_taken_and_arrives_whole() -> None:
    parts, block = list[bytes](), bytes(range(256)) * 4_000
    full, taken = asyncio.Event(), asyncio.Event()

    async def blocks() -> Any:
        yield block

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        parts.append(message.get("body", b""))
        if len(parts) == 3:
            full.set()
            await taken.wait()

    settings = SimpleNamespace(api=ApiSettings(head_start_s=60))
    app = SimpleNamespace(state=SimpleNamespace(context=SimpleNamespace(settings=settings)))
    stream: EventStream[Any] = EventStream(blocks())
    sending = asyncio.create_task(stream({"type": "http", "method": "GET", "app": app}, receive, send))
    async with asyncio.timeout(60):
        await full.wait()
        sent = sum(map(len, parts))
        taken.set()
        await sending

    assert sent < 200_000
    assert b"".join(parts) == block
