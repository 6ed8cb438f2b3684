"""The plain loop that people write: so many callers of the chat, a picture each, one after the other.

`python -m benchmarks.map.loop PORT FOLDER QUESTION`: prints the seconds that all pictures took.
"""

import asyncio
import base64
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.batches.lines import ENDPOINT, MODEL

CALLERS = 16


def _body(picture: Path, question: str) -> dict[str, object]:
    url = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": question.replace("{file}", picture.name)},
    ]
    return {"model": MODEL, "messages": [{"role": "user", "content": content}]}


async def _call(client: httpx.AsyncClient, pictures: Iterator[Path], question: str) -> None:
    for picture in pictures:
        reply = await client.post(ENDPOINT, json=_body(picture, question))
        reply.raise_for_status()
        if picture.name not in reply.json()["choices"][0]["message"]["content"]:
            raise RuntimeError(f"another answer for {picture.name}")


async def _run(port: int, paths: list[Path], question: str) -> float:
    began, pictures = time.monotonic(), iter(paths)
    transport = httpx.AsyncHTTPTransport()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=120, transport=transport
    ) as client:
        await asyncio.gather(*(_call(client, pictures, question) for _ in range(CALLERS)))
    return time.monotonic() - began


if __name__ == "__main__":
    print(asyncio.run(_run(int(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir()), sys.argv[3])))
