"""What one caller sends must not keep the others' requests from being read."""

import asyncio
import threading
from typing import Any

import pytest

from api.server.body import LARGE, parse_body

LONG = b" " * (LARGE + 1)
SCHEMA = b'{"response_format": {"type": "json_schema"}}' + b" " * 2_000


class Reads:
    """Notes who is read; the first read waits for `go`."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.threads: set[str] = set()
        self.begun, self.go = threading.Event(), threading.Event()

    def of(self, caller: str) -> Any:
        def read(body: bytes) -> int:
            self.threads.add(threading.current_thread().name)
            self.order.append(caller)
            self.begun.set()
            assert self.go.wait(30)
            return len(body)

        return read


async def started(*reads: Any) -> list[asyncio.Task[Any]]:
    """Each stands in line before the next one comes."""
    tasks = []
    for read in reads:
        tasks.append(asyncio.create_task(read))
        await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize(
    "body", [LONG, SCHEMA, b"{}" * 2_000], ids=["large", "with a schema", "many objects"]
)
async def test_streams_go_on_while_a_body_is_read_that_takes_long(body: bytes) -> None:
    reads = Reads()
    (task,) = await started(parse_body(body, reads.of("alice")))
    # This loop runs on, or nobody could let the read go on.
    await asyncio.to_thread(reads.begun.wait, 30)
    reads.go.set()
    assert await task == len(body)
    assert threading.current_thread().name not in reads.threads


async def test_what_is_no_body_to_read_is_told_to_its_own_sender_and_the_next_is_read() -> None:
    def broken(_: bytes) -> int:
        raise ValueError("no JSON")

    with pytest.raises(ValueError, match="no JSON"):
        await parse_body(LONG, broken)
    assert await parse_body(LONG, len) == len(LONG)
