"""Hugging Face's client in Python, sync and async under one way to call it; how JavaScript's begins."""

import asyncio
from collections.abc import Iterable
from typing import Any, Literal

from huggingface_hub import AsyncInferenceClient, InferenceClient

Kind = Literal["InferenceClient", "AsyncInferenceClient"]
KINDS: tuple[Kind, ...] = ("InferenceClient", "AsyncInferenceClient")

JS = """
const { InferenceClient } = await load("@huggingface/inference");
const client = new InferenceClient("hf_any").endpoint(url);
"""
"""Before JavaScript that knows `url`: then it knows `client` too."""


def ask(kind: Kind, where: dict[str, Any], method: str, *args: Any, **said: Any) -> Any:
    """What the method of a client made with `where` returns; of a stream all that comes, as a list."""
    if kind == "AsyncInferenceClient":
        return asyncio.run(_asked(where, method, *args, **said))
    with InferenceClient(**where) as client:
        found = getattr(client, method)(*args, **said)
        return list(found) if said.get("stream") else found


async def _asked(where: dict[str, Any], method: str, *args: Any, **said: Any) -> Any:
    async with AsyncInferenceClient(**where) as client:
        found = await getattr(client, method)(*args, **said)
        return [piece async for piece in found] if said.get("stream") else found


def turn(text: str) -> list[Any]:
    """A conversation of one turn."""
    return [{"role": "user", "content": text}]


def joined(chunks: Iterable[Any]) -> str:
    """The text of a chat's chunks, read as the page's snippet reads it: `choices[0]` of every one."""
    return "".join(chunk.choices[0].delta.content for chunk in chunks)
