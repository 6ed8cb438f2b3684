"""Receivers of webhooks, a process of their own: `python -m benchmarks.webhooks.receivers FILE SEED PORT …`.

Each port behaves in one way, in the order of `BEHAVIOURS`; there may be fewer ports. Every call that arrived
whole is a line of JSON in the file, written before it is answered.
"""

import asyncio
import json
import random
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from shared.store.keys import PREFIX

BEHAVIOURS = ("steady", "flaky", "hangs", "restarts", "gone", "dead")
"""Takes all; fails 30 %; leaves half of the calls without an answer; is down for a third of the time; answers
410; never answers."""
HOST = "127.0.0.1"
FAILS, HANGS = 0.3, 0.5
UP_S, DOWN_S = 4.0, 2.0
SILENCE_S = 30.0
LOOK_S = 0.2
PHRASES = {204: "No Content", 410: "Gone", 500: "Internal Server Error"}


@dataclass(frozen=True)
class Received:
    """One call as it arrived; `status` is None where it got no answer."""

    behaviour: str
    host: str
    id: str
    timestamp: int
    signatures: tuple[str, ...]
    body: str
    at: float
    status: int | None


def read(path: Path) -> list[Received]:
    """What the receivers recorded."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Received(**row | {"signatures": tuple(row["signatures"])}) for row in rows]


async def until_delivered(redis: Any, calls: Path, patience_s: float) -> None:
    """Wait until no call is still to be made, or none was recorded for so long."""
    last, size = time.monotonic(), -1
    while time.monotonic() < last + patience_s and await asyncio.to_thread(redis.exists, f"{PREFIX}calls"):
        if (now := (await asyncio.to_thread(calls.stat)).st_size) != size:
            last, size = time.monotonic(), now
        await asyncio.sleep(LOOK_S)


class Receiver:
    """One port."""

    def __init__(self, behaviour: str, port: int, dice: random.Random, out: IO[str]) -> None:
        self._behaviour, self._port = behaviour, port
        self._dice, self._out = dice, out
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self) -> None:
        while True:
            server = await asyncio.start_server(self._answer, HOST, self._port)
            if self._behaviour != "restarts":
                await server.serve_forever()
            await asyncio.sleep(UP_S)
            server.close()
            for writer in self._open:
                writer.transport.abort()
            await asyncio.sleep(DOWN_S)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._exchange(reader, writer)
        self._open.discard(writer)
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = (await reader.readexactly(int(fields["content-length"]))).decode()
        status = self._status()
        self._record(fields, body, writer.get_extra_info("sockname")[0], status)
        if status is None:
            await asyncio.sleep(SILENCE_S)
            return
        writer.write(f"HTTP/1.1 {status} {PHRASES[status]}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    def _status(self) -> int | None:
        match self._behaviour:
            case "flaky" if self._dice.random() < FAILS:
                return 500
            case "gone":
                return 410
            case "dead":
                return None
            case "hangs" if self._dice.random() < HANGS:
                return None
        return 204

    def _record(self, fields: dict[str, str], body: str, host: str, status: int | None) -> None:
        row: dict[str, Any] = {
            "behaviour": self._behaviour,
            "host": host,
            "id": fields["webhook-id"],
            "timestamp": int(fields["webhook-timestamp"]),
            "signatures": fields["webhook-signature"].split(" "),
            "body": body,
            "at": time.time(),
            "status": status,
        }
        self._out.write(json.dumps(row) + "\n")
        self._out.flush()


async def _serve_all(path: Path, seed: int, ports: list[int]) -> None:
    with path.open("a", encoding="utf-8") as out:
        receivers = [
            Receiver(behaviour, port, random.Random(f"{seed} {behaviour}"), out)  # noqa: S311 - no secret
            for behaviour, port in zip(BEHAVIOURS, ports, strict=False)
        ]
        await asyncio.gather(*(receiver.serve() for receiver in receivers))


if __name__ == "__main__":
    file, seed, *ports = sys.argv[1:]
    asyncio.run(_serve_all(Path(file), int(seed), [int(port) for port in ports]))
