"""What one caller sends must not keep the others' requests from being read."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from api.server.body import LARGE, parse_body
from api.server.reply import KEY
from tests.support.patience import PATIENCE_S

LONG = b" " * (LARGE + 1)


def by(caller: str) -> Any:
    """A request of this caller, as far as parsing needs it."""
    return SimpleNamespace(
        scope={KEY: SimpleNamespace(reservation=SimpleNamespace(caller=caller), headers={})}
    )


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
            assert self.go.wait(PATIENCE_S)
            return len(body)

        return read


async def started(*reads: Any) -> list[asyncio.Task[Any]]:
    """Each stands in line before the next one comes."""
    tasks = []
    for read in reads:
        tasks.append(asyncio.create_task(read))
        await asyncio.sleep(0)
    return tasks


async def test_a_caller_with_many_large_bodies_does_not_keep_another_s_waiting() -> None:
    reads = Reads()
    many = [parse_body(by("mallory"), LONG, reads.of("mallory")) for _ in range(5)]
    tasks = await started(*many, parse_body(by("alice"), LONG, reads.of("alice")))
    reads.go.set()
    assert await asyncio.gather(*tasks) == [len(LONG)] * 6
    assert reads.order.index("alice") <= 2


async def test_streams_go_on_while_a_large_body_is_parsed() -> None:
    reads = Reads()
    (task,) = await started(parse_body(by("alice"), LONG, reads.of("alice")))
    # This loop runs on, or nobody could let the read go on.
    await asyncio.to_thread(reads.begun.wait, 30)
    reads.go.set()
    assert await task == len(LONG)
    assert threading.current_thread().name not in reads.threads


async def test_who_hangs_up_while_waiting_leaves_its_turn_to_the_next() -> None:
    reads = Reads()
    calls = [parse_body(by(name), LONG, reads.of(name)) for name in ("first", "gone", "last")]
    first, gone, last = await started(*calls)
    gone.cancel()
    await asyncio.wait([gone])
    reads.go.set()
    assert [await first, await last] == [len(LONG)] * 2
    assert reads.order == ["first", "last"]


async def test_a_turn_given_to_who_hangs_up_at_that_moment_is_not_lost() -> None:
    reads = Reads()
    calls = [parse_body(by(name), LONG, reads.of(name)) for name in ("first", "gone", "last")]
    first, gone, last = await started(*calls)
    first.add_done_callback(lambda _: gone.cancel())
    reads.go.set()
    await asyncio.wait([first, gone])
    assert await asyncio.wait_for(last, 30) == len(LONG)


async def test_what_is_no_body_to_read_is_told_to_its_own_sender_and_the_next_is_read() -> None:
    def broken(_: bytes) -> int:
        raise ValueError("no JSON")

    with pytest.raises(ValueError, match="no JSON"):
        await parse_body(by("alice"), LONG, broken)
    assert await parse_body(by("alice"), LONG, len) == len(LONG)
