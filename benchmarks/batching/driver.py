"""Callers who read streams of OpenAI's chat, each asking its next question when the last is answered.

Plain asyncio over kept connections, with bodies made beforehand, to leave the processor to the servers.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import uvloop

_CACHED = re.compile(rb"\r\nx-cache: *(HIT|COALESCED)", re.IGNORECASE)
_EVENT = b"data: "


class WrongAnswerError(Exception):
    """A server gave an answer that cannot be measured."""


@dataclass
class Answer:
    """An answer to one question: moments in seconds on one clock, `arrivals` those of its chunks of text.

    `tokens` is the server's own count, known once the answer is complete.
    """

    sent: float
    arrivals: list[float] = field(default_factory=list)
    text: str = ""
    tokens: int = 0
    ended: float | None = None

    @property
    def wait_s(self) -> float:
        """Seconds to the first text, or to the end of an answer without any; NaN while neither has come."""
        moments = [*self.arrivals[:1], *([] if self.ended is None else [self.ended]), math.nan]
        return moments[0] - self.sent

    def add(self, event: dict[str, Any], now: float) -> None:
        """Raises WrongAnswerError."""
        if "error" in event:
            raise WrongAnswerError(str(event)[:500])
        self.tokens = (event.get("usage") or {}).get("completion_tokens", self.tokens)
        for choice in event["choices"]:
            if chunk := choice["delta"].get("content"):
                self.text += chunk
                self.arrivals.append(now)


@dataclass(frozen=True)
class Drive:
    """What a closed loop of `clients` saw in `wall_s`."""

    clients: int
    answers: list[Answer]
    wall_s: float


def drive(port: int, questions: Iterable[bytes], *, clients: int, seconds: float) -> Drive:
    """Ask until all are answered, or until the first answer that is complete after so many seconds.

    A server that computes one answer after the other has then computed whole answers. One that computes many
    together has also read prompts whose answers do not show yet: it gets the time to answer all.
    Raises WrongAnswerError, also if an answer comes from a cache.
    """
    return uvloop.run(_drive(port, iter(questions), clients, seconds))


async def _drive(port: int, questions: Iterator[bytes], clients: int, seconds: float) -> Drive:
    began = time.perf_counter()
    answers: list[Answer] = []
    enough = asyncio.Event()

    async def call() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for question in questions:
                if enough.is_set():
                    return
                writer.write(question)
                answers.append(Answer(time.perf_counter()))
                await _read(reader, answers[-1])
                if time.perf_counter() >= began + seconds:
                    enough.set()
        finally:
            writer.transport.abort()

    all_answered = asyncio.gather(*(call() for _ in range(clients)))
    stopped = asyncio.create_task(enough.wait())
    await asyncio.wait((all_answered, stopped), return_when=asyncio.FIRST_COMPLETED)
    ended = time.perf_counter()
    stopped.cancel()
    all_answered.cancel()
    with suppress(asyncio.CancelledError):
        await all_answered
    return Drive(clients, answers, ended - began)


async def _read(reader: asyncio.StreamReader, answer: Answer) -> None:
    """Read to the answer's end. Raises WrongAnswerError."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        if head[9:12] != b"200" or _CACHED.search(head):
            raise WrongAnswerError(f"refused, or from the cache: {head!r}")
        async for line in body_lines(reader):
            if line.startswith(_EVENT) and b"[DONE]" not in line:
                answer.add(json.loads(line.removeprefix(_EVENT)), time.perf_counter())
    except (ValueError, KeyError, EOFError, OSError) as error:
        raise WrongAnswerError(f"the answer broke off or is no stream of a chat: {error!r}") from None
    answer.ended = time.perf_counter()


async def body_lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of a chunked body as they come."""
    rest = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        *lines, rest = (rest + (await reader.readexactly(size + 2))[:-2]).split(b"\n")
        for line in lines:
            yield line
    await reader.readexactly(2)
    if rest:
        yield rest


def point(drive: Drive, *, cpu_s: float, rss_mb: float) -> dict[str, Any]:
    """Return the figures of one number of clients."""
    tokens = counted(drive.answers)
    gaps = [(after - before) * 1e3 for one in drive.answers for before, after in pairwise(one.arrivals)]
    return {
        "clients": drive.clients,
        "answered": sum(one.ended is not None for one in drive.answers),
        "tokens_per_s": round(tokens / drive.wall_s, 1),
        "tokens_per_cpu_s": round(tokens / cpu_s, 1),
        **first_text(drive.answers, drive.wall_s),
        # None if no answer had two chunks.
        "gap_p50_ms": round(float(np.percentile(gaps, 50)), 2) if gaps else None,
        "gap_p99_ms": round(float(np.percentile(gaps, 99)), 2) if gaps else None,
        "rss_mb": round(rss_mb),
    }


def counted(answers: Sequence[Answer]) -> int:
    """Count tokens. An answer that was cut off counts by its words, each of which is a token at least."""
    return sum(len(one.text.split()) if one.ended is None else one.tokens for one in answers)


def first_text(answers: Sequence[Answer], wall_s: float) -> dict[str, Any]:
    """Return p50 and p99 of the time from asking to the first text.

    A caller that still waits counts with its wait so far, and a figure beyond that is a lower bound. To leave
    it out would favour a server that answers few callers and lets the others wait.
    """
    end = min(one.sent for one in answers) + wall_s
    missing = [end - one.sent for one in answers if math.isnan(one.wait_s)]
    waits = [one.wait_s for one in answers if not math.isnan(one.wait_s)] + missing
    figures: dict[str, Any] = {}
    for name, share in (("ttft_p50_ms", 50), ("ttft_p99_ms", 99)):
        wait_s = float(np.percentile(waits, share))
        figures[name] = round(wait_s * 1e3, 1)
        if missing and wait_s >= min(missing):
            figures[f"{name}_at_least"] = True
    return figures
