"""One client process: reads turns from standard input, a JSON object a line, and answers each with one.

OpenAI's SDK is imported and its connections are opened once, as an application does that asks all day.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import openai

MODEL = "bench/paced"
STEP_S = 0.1
"""Our streams send at most ten events a second, so at this pace each word is an event of its own."""
LIMIT_S = 120


@dataclass
class Turn:
    """Moments on the monotonic clock, one for all processes of a machine; `first_ms` is of each stream."""

    began: float
    ended: float
    events: int
    cpu_s: float
    first_ms: list[float]


def question(name: str, words: int) -> str:
    """So many words, like no other question: an answer from the cache would be one event."""
    return " ".join([name, *(f"word{number}" for number in range(1, words))])


async def stream(client: openai.AsyncOpenAI, text: str) -> tuple[int, float]:
    """Chunks, and ms until the first with text in it."""
    began, events, first = time.monotonic(), 0, 0.0
    messages: Any = [{"role": "user", "content": text}]
    async for chunk in await client.chat.completions.create(model=MODEL, messages=messages, stream=True):
        events += 1
        if not first and chunk.choices and chunk.choices[0].delta.content:
            first = time.monotonic() - began
    return events, first * 1000


async def turn(url: str, name: str, streams: int, words: int) -> Turn:
    began, cpu = time.monotonic(), time.process_time()
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=LIMIT_S
    ) as client:
        texts = (question(f"{name}-{number}", words) for number in range(streams))
        rows = await asyncio.gather(*(stream(client, text) for text in texts))
    return Turn(
        began,
        time.monotonic(),
        sum(events for events, _ in rows),
        time.process_time() - cpu,
        [round(first, 3) for _, first in rows],
    )


def main() -> None:
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(asdict(asyncio.run(turn(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
