"""Commands share writes, every caller gets its own answer, and a connection that is lost costs nobody one."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.store.exchange import MOST_LOST, TOGETHER, Connection

ECHOED = re.compile(rb"\*2\r\n\$4\r\nECHO\r\n\$\d+\r\n(\w+)\r\n")


@dataclass
class Server:
    """Answers ECHO once `go` is set; `writes` are what came in one piece each."""

    port: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    writes: list[list[str]] = field(default_factory=list)
    cuts: int = 0
    """Connections that it closes instead of answering."""
    tasks: list["asyncio.Task[None] | None"] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.current_task())
        while data := await reader.read(2**16):
            words = [word.decode() for word in ECHOED.findall(data)]
            if not words:
                writer.write(b"+OK\r\n" * data.count(b"*"))  # what redis-py says first
                continue
            self.writes.append(words)
            self.came.set()
            await self.go.wait()
            if self.cuts:
                self.cuts -= 1
                break
            writer.write(b"".join(map(_reply, words)))
        writer.close()
        await writer.wait_closed()


def _reply(word: str) -> bytes:
    return b"-ERR no\r\n" if word == "refused" else b"$%d\r\n%s\r\n" % (len(word), word.encode())


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, Connection]]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    pool = ConnectionPool(
        host="127.0.0.1",
        port=listening.sockets[0].getsockname()[1],
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=True,
    )
    connection = Connection(pool)
    try:
        yield server, connection
    finally:
        server.go.set()
        await connection.aclose()
        listening.close()
        await asyncio.gather(*filter(None, server.tasks), return_exceptions=True)


def ask(connection: Connection, *words: str) -> list["asyncio.Future[str]"]:
    return [connection.send(("ECHO", word)) for word in words]


async def test_who_asks_while_others_wait_for_an_answer_is_heard_at_once() -> None:
    async with serving() as (server, connection):
        first = ask(connection, "a")
        await server.came.wait()
        others = ask(connection, "b", "c")
        server.go.set()
        assert await asyncio.gather(*first, *others) == ["a", "b", "c"]
        assert server.writes[0] == ["a"]


async def test_a_crowd_is_written_in_pieces_that_the_store_can_begin_with() -> None:
    async with serving() as (server, connection):
        server.go.set()
        await asyncio.gather(*ask(connection, "warm"))
        crowd = [f"w{number}" for number in range(TOGETHER + 1)]
        assert await asyncio.gather(*ask(connection, *crowd)) == crowd
        assert [word for words in server.writes[1:] for word in words] == crowd


async def test_one_callers_error_is_not_its_neighbours() -> None:
    async with serving() as (server, connection):
        server.go.set()
        answers = await asyncio.gather(*ask(connection, "a", "refused", "c"), return_exceptions=True)
        assert [answers[0], answers[2]] == ["a", "c"]
        with pytest.raises(ResponseError, match="no"):
            raise answers[1]  # type: ignore[misc]


async def test_a_caller_who_hangs_up_leaves_the_others_their_answers() -> None:
    async with serving() as (server, connection):
        leaving, staying = ask(connection, "a", "b")
        await server.came.wait()
        leaving.cancel()
        server.go.set()
        assert await staying == "b"


async def test_what_a_lost_connection_left_unanswered_is_asked_again() -> None:
    async with serving() as (server, connection):
        server.cuts = 1
        server.go.set()
        assert await asyncio.gather(*ask(connection, "a", "b")) == ["a", "b"]


async def test_a_store_that_closes_every_connection_is_given_up() -> None:
    async with serving() as (server, connection):
        server.cuts = 2 * MOST_LOST
        server.go.set()
        with pytest.raises(RedisConnectionError):
            await asyncio.gather(*ask(connection, "a"))


async def test_who_waits_behind_an_answer_that_hangs_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as (_, connection):
        monkeypatch.setattr("shared.store.exchange.LONGEST_S", 0.03)
        failures = await asyncio.gather(*ask(connection, "a", "b"), return_exceptions=True)
        assert [type(failure) for failure in failures] == [RedisTimeoutError] * 2


async def test_a_process_that_stops_waits_for_no_answer_and_asks_nothing_more() -> None:
    async with serving() as (server, connection):
        (asked,) = ask(connection, "a")
        await server.came.wait()
        await connection.aclose()
        assert asked.cancelled()
        assert ask(connection, "b")[0].cancelled()
        assert server.writes == [["a"]]


async def test_nobody_waits_for_a_connection_that_is_closed_before_it_began() -> None:
    async with serving() as (_, connection):
        (answer,) = ask(connection, "a")
        await connection.aclose()
        assert answer.cancelled()
