"""Callers who read streams of OpenAI's chat: each asks its next question when the last is answered.

Plain asyncio over kept connections, with bodies made beforehand, to leave the processor to the servers.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

_HEAD_END = b"\r\n\r\n"
_CACHE = re.compile(rb"\r\nx-cache: *([^\r]+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EVENT = b"data: "
OURS_SAID = (b"HIT", b"COALESCED")


class WrongAnswerError(Exception):
    """A server gave an answer that cannot be measured."""


@dataclass
class Told:
    """One question and what came of it; moments in seconds on one clock, `arrivals` those of pieces of text.

    `tokens` is the server's own count, known once the answer is complete.
    """

    sent: float
    arrivals: list[float] = field(default_factory=list)
    text: str = ""
    tokens: int = 0
    ended: float | None = None

    @property
    def wait_s(self) -> float:
        """To the first text, or to the end of an answer without any; NaN while neither has come."""
        moments = [*self.arrivals[:1], *([] if self.ended is None else [self.ended]), math.nan]
        return moments[0] - self.sent

    def take(self, event: dict[str, Any], now: float) -> None:
        """Raises WrongAnswerError."""
        if "error" in event:
            raise WrongAnswerError(str(event)[:500])
        self.tokens = (event.get("usage") or {}).get("completion_tokens", self.tokens)
        for choice in event["choices"]:
            if piece := choice["delta"].get("content"):
                self.text += piece
                self.arrivals.append(now)


@dataclass(frozen=True)
class Drive:
    """What a closed loop of `clients` saw in `wall_s`; `own_s` is the callers' processor time."""

    clients: int
    told: list[Told]
    wall_s: float
    own_s: float


class Lines:
    """The lines of a body, as they come: chunked where `length` is None."""

    def __init__(self, length: int | None) -> None:
        self._left = length
        self._raw = b""
        self._line = b""
        self.over = False

    def feed(self, data: bytes) -> list[bytes]:
        """Those complete now; the last one may lack its end."""
        *lines, self._line = (self._line + self._whole(data)).split(b"\n")
        return [*lines, self._line] if self.over else lines

    def _whole(self, data: bytes) -> bytes:
        if self._left is not None:
            self._left -= len(data)
            self.over = self._left <= 0
            return data
        self._raw += data
        return b"".join(self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        while not self.over and (end := self._raw.find(b"\r\n")) >= 0:
            size = int(self._raw[:end], 16)
            start, stop = end + 2, end + 2 + size
            if len(self._raw) < stop + 2:
                return
            yield self._raw[start:stop]
            self._raw = self._raw[stop + 2 :]
            self.over = size == 0


class _Client(asyncio.Protocol):
    """One kept connection; asks for as long as there are questions."""

    def __init__(self, questions: Iterator[bytes], told: list[Told], answered: "_Answered") -> None:
        self._questions, self._told, self._answered = questions, told, answered
        self._head = b""
        self._lines: Lines | None = None
        self._status = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        try:
            self._read(data, time.perf_counter())
        except (WrongAnswerError, ValueError, KeyError) as error:
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or WrongAnswerError("the server closed the connection"))

    def hang_up(self) -> None:
        self._end(None)

    def _ask(self) -> None:
        question = next(self._questions, None)
        if question is None or self._answered.enough:
            self._end(None)
            return
        self._head, self._lines = b"", None
        self._now = Told(time.perf_counter())
        self._told.append(self._now)
        self._transport.write(question)

    def _read(self, data: bytes, now: float) -> None:
        if self._lines is None:
            self._head += data
            head, found, data = self._head.partition(_HEAD_END)
            if not found:
                return
            self._begin(head)
        lines = self._lines
        if lines is None:
            return
        for line in lines.feed(data):
            if self._status != 200:
                raise WrongAnswerError(f"{self._status}: {line[:500]!r}")
            if line.startswith(_EVENT) and b"[DONE]" not in line:
                self._now.take(json.loads(line.removeprefix(_EVENT)), now)
        if lines.over:
            self._now.ended = now
            self._answered.one()
            self._ask()

    def _begin(self, head: bytes) -> None:
        self._status = int(head[9:12])
        cache = _CACHE.search(head)
        if cache and cache[1] in OURS_SAID:
            raise WrongAnswerError("an answer came from the cache: nothing was computed for it")
        length = _LENGTH.search(head)
        self._lines = Lines(int(length[1]) if length else None)

    def _end(self, error: Exception | None) -> None:
        if not self.ended.done():
            self._transport.abort()
            if error:
                self.ended.set_exception(error)
            else:
                self.ended.set_result(None)


class _Answered:
    """Ends everything at the first complete answer after the time is over.

    A server that computes one answer after the other has then computed whole answers. One that computes many
    together has also read prompts whose answers do not show yet: it gets the time to answer all.
    """

    def __init__(self, stop_at: float) -> None:
        self._stop_at = stop_at
        self.enough = False
        self.over = asyncio.Event()

    def one(self) -> None:
        if time.perf_counter() >= self._stop_at:
            self.enough = True
            self.over.set()


def drive(port: int, questions: Iterable[bytes], *, clients: int, seconds: float) -> Drive:
    """Until all are answered, or until the first answer that is complete after so many seconds.

    Raises WrongAnswerError.
    """
    return uvloop.run(_drive(port, iter(questions), clients, seconds))


async def _drive(port: int, questions: Iterator[bytes], clients: int, seconds: float) -> Drive:
    began, own = time.perf_counter(), time.process_time()
    told: list[Told] = []
    answered = _Answered(began + seconds)
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: _Client(questions, told, answered), "127.0.0.1", port))[1]
        for _ in range(clients)
    ]
    all_answered = asyncio.gather(*(caller.ended for caller in callers))
    stopped = asyncio.create_task(answered.over.wait())
    await asyncio.wait((all_answered, stopped), return_when=asyncio.FIRST_COMPLETED)
    ended = time.perf_counter()
    for caller in callers:
        caller.hang_up()
    stopped.cancel()
    await all_answered
    return Drive(clients, told, ended - began, time.process_time() - own)
