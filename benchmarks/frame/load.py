"""Load: a closed loop of HTTP/1.1 requests over kept connections, cheap enough not to be what is measured.

Bodies are made beforehand or in a few string operations; answers are cut by Content-Length alone.
"""

import asyncio
import http.client
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LIMIT_S = 30
"""The last answers may come that much later; then the benchmark stops with an error."""
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Shot:
    """One kind of request: `next` makes the whole message, `status` is the only acceptable answer."""

    next: Callable[[], bytes]
    status: int


@dataclass(frozen=True)
class Load:
    """What a closed loop achieved."""

    count: int
    per_s: float


class UnexpectedAnswerError(Exception):
    """The server answered something else than the benchmark measures."""


class Caller:
    """One kept connection for requests one after the other; JSON both ways. Each has the headers `more`."""

    def __init__(self, port: int, limit_s: float = LIMIT_S, more: Mapping[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=limit_s)
        self._sent = {"content-type": "application/json", **(more or {})}
        self.headers: Any = {}

    def call(self, method: str, path: str, body: bytes = b"", *, expected: Sequence[int] = (200, 202)) -> Any:
        """The answer's JSON; its headers stay in `headers`. Raises UnexpectedAnswerError."""
        return json.loads(self.raw(method, path, body, expected=expected))

    def raw(
        self, method: str, path: str, body: bytes = b"", *, expected: Sequence[int] = (200, 202)
    ) -> bytes:
        """The answer's bytes. Raises UnexpectedAnswerError."""
        self._connection.request(method, path, body, self._sent)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status not in expected:
            raise UnexpectedAnswerError(f"{method} {path}: {response.status} {answer[:500]!r}")
        self.headers = response.headers
        return answer

    def close(self) -> None:
        self._connection.close()


def post(path: str, body: bytes) -> bytes:
    """A whole HTTP/1.1 message."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()


@dataclass
class _Score:
    stop_at: float
    count: int = 0


class _Client(asyncio.Protocol):
    def __init__(self, shot: Shot, score: _Score) -> None:
        self._shot = shot
        self._score = score
        self._buffer = b""
        self._need = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._fire()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._need:
            head = self._buffer.find(_HEAD_END)
            if head < 0:
                return
            length = _LENGTH.search(self._buffer, 0, head)
            self._need = head + len(_HEAD_END) + (int(length[1]) if length else 0)
        if len(self._buffer) >= self._need:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or UnexpectedAnswerError("the server closed the connection"))

    def _answered(self) -> None:
        if int(self._buffer[9:12]) != self._shot.status:
            self.ended.set_exception(UnexpectedAnswerError(self._buffer[:2000].decode(errors="replace")))
            self._transport.abort()
            return
        self._score.count += 1
        self._buffer, self._need = b"", 0
        if time.perf_counter() < self._score.stop_at:
            self._fire()
        elif not self.ended.done():
            self.ended.set_result(None)
            self._transport.close()

    def _fire(self) -> None:
        self._transport.write(self._shot.next())


def run(shot: Shot, port: int, *, seconds: float, connections: int) -> Load:
    """Fire until the time is over. Raises UnexpectedAnswerError."""
    return uvloop.run(_run(shot, port, seconds, connections))


async def _run(shot: Shot, port: int, seconds: float, connections: int) -> Load:
    began = time.perf_counter()
    score = _Score(began + seconds)
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(shot, score), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + LIMIT_S):
        await asyncio.gather(*(client.ended for client in clients))
    return Load(score.count, score.count / (time.perf_counter() - began))
