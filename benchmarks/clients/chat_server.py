"""The baseline: Starlette, and as many events of a chat stream as ours sends, at the same pace."""

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from benchmarks.clients.chat_client import STEP_S

DONE = b"data: [DONE]\n\n"


async def chat(request: Request) -> StreamingResponse:
    body = await request.json()
    words = body["messages"][-1]["content"].split()
    return StreamingResponse(_events(body["model"], words), media_type="text/event-stream")


async def _events(model: str, words: list[str]) -> AsyncIterator[bytes]:
    yield _chunk(model, {"role": "assistant", "content": ""})
    for word in words:
        await asyncio.sleep(STEP_S)
        yield _chunk(model, {"content": f" {word}"})
    yield _chunk(model, {"content": ""}, finish="stop")
    yield DONE


def _chunk(model: str, delta: dict[str, str], finish: str | None = None) -> bytes:
    chunk = {
        "id": "chatcmpl-bare",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "system_fingerprint": None,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


async def ready(_: Request) -> Response:
    return PlainTextResponse("ready")


app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"]), Route("/ready", ready)])
