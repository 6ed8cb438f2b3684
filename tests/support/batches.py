"""Batches as callers make them: files of lines, and what comes back."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import openai
from openai.types import Batch

from tests.support.clients import until_async
from tests.support.scripted_worker import ScriptedWorker

MODEL = "sightline/tiny"
ENDPOINT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


def line(custom_id: str, text: str = "What is this?", *, url: str = ENDPOINT, **body: Any) -> dict[str, Any]:
    """A good line; `body` replaces or adds members of its body."""
    said: dict[str, Any] = {"model": MODEL}
    if url.endswith("/chat/completions"):
        said["messages"] = [{"role": "user", "content": text}]
    else:
        said["prompt"] = text
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": said | body}


def jsonl(lines: Iterable[dict[str, Any] | str]) -> bytes:
    """A file; texts stand in it as they are."""
    return b"".join((x if isinstance(x, str) else json.dumps(x)).encode() + b"\n" for x in lines)


def rows(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(row) for row in content.splitlines()]


def answers(found: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The texts of an output file, by custom_id; each stands there once."""
    texts = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in found}
    assert len(texts) == len(found)
    return texts


def asked(request: str) -> str:
    """The text of a question, as the worker reads it."""
    return str(json.loads(request)["messages"][-1]["parts"][-1]["text"])


@contextmanager
def empty(folder: Path) -> Iterator[None]:
    """An empty folder in its place, as before anything is mounted there."""
    away = folder.rename(f"{folder}.away")
    folder.mkdir()
    yield
    folder.rmdir()
    away.rename(folder)


@asynccontextmanager
async def serving(worker: ScriptedWorker) -> AsyncIterator[None]:
    """The worker answers what comes to the line with the question in capitals, and fails what asks for it."""
    worker.beat()

    async def serve() -> None:
        while True:
            await until_async(waits)
            claim = worker.take()
            text = asked(claim.request)
            if text.startswith("fail"):
                worker.fail(claim, "invalid_image", "The picture is broken.", "messages")
            else:
                worker.succeed(claim, text.upper())

    async def waits() -> bool:
        return not worker.idle()

    task = asyncio.create_task(serve())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def begun(
    client: openai.AsyncOpenAI, lines: Iterable[dict[str, Any] | str] | bytes, **said: Any
) -> Batch:
    content = lines if isinstance(lines, bytes) else jsonl(lines)
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    body: dict[str, Any] = {"endpoint": ENDPOINT, "completion_window": "24h", **said}
    return await client.batches.create(input_file_id=file.id, **body)


async def ended(client: openai.AsyncOpenAI, batch: Batch) -> Batch:
    async def over() -> Batch | bool:
        seen = await client.batches.retrieve(batch.id)
        return seen if seen.status in ENDED else False

    found = await until_async(over)
    assert isinstance(found, Batch)
    return found


async def content(client: openai.AsyncOpenAI, file: str | None) -> list[dict[str, Any]]:
    return [] if file is None else rows((await client.files.content(file)).content)
