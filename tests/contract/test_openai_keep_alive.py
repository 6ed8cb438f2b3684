"""What a stream says while its reader waits in line is no part of the answer, to any client."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.support.app import application
from tests.support.app_server import listening
from tests.support.fake_service import FakeService
from tests.support.node import Node
from tests.support.openai_clients import AI, JS, KINDS, Kind, openai_client

MODEL, ANSWER = "sightline/tiny", "A cat."


@dataclass
class Line:
    """The application; a question is answered once its reader was told that it waits."""

    app: Any
    service: FakeService

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            await send(message)
            job = f"job_{len(self.service.asked):032x}"
            if b": queued" in message.get("body", b"") and not self.service.views[job].ended:
                self.service.succeed(job, ANSWER)

        await self.app(scope, receive, sent)


@pytest.fixture
async def waiting() -> AsyncIterator[str]:
    """The URL of a service where every question waits."""
    service = FakeService()
    async with (
        application(service, keepalive_s=0.01, head_start_s=0.01) as app,
        listening(Line(app, service)) as url,
    ):
        yield url


def read(kind: Kind, url: str) -> list[str]:
    asked: dict[str, Any] = {"model": MODEL, "stream": True}
    with openai_client(kind, url) as client:
        chats = client.chat.completions.create(**asked, messages=[{"role": "user", "content": "Hi"}])
        chat = "".join(chunk.choices[0].delta.content for chunk in chats)
        events = client.responses.create(**asked, input="Hi")
        response = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    return [chat, response]


@pytest.mark.parametrize("kind", KINDS)
async def test_python_reads_over_it(waiting: str, kind: Kind) -> None:
    assert await asyncio.to_thread(read, kind, waiting) == [ANSWER, ANSWER]


READ = """
const asked = { model, stream: true };
let chat = "";
const messages = [{ role: "user", content: "Hi" }];
for await (const chunk of await client.chat.completions.create({ ...asked, messages })) {
  chat += chunk.choices[0].delta.content;
}
let response = "";
for await (const event of await client.responses.create({ ...asked, input: "Hi" })) {
  if (event.type === "response.output_text.delta") response += event.delta;
}
return [chat, response, await streamText({ model: provider(model), prompt: "Hi" }).text];
"""


@pytest.mark.node
async def test_javascript_reads_over_it(waiting: str, node: Node) -> None:
    found = await asyncio.to_thread(node.run, JS + AI + READ, url=waiting, model=MODEL)
    assert found == [ANSWER] * 3
