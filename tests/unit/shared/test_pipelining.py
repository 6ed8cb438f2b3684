"""Commands share writes, every caller gets its own answer, and a connection that is lost costs nobody one."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

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

    connection: Connection = field(init=False)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    writes: list[list[str]] = field(default_factory=list)
    cuts: int = 0
    """Connections that it closes instead of answering."""
    tasks: list["asyncio.Task[None] | None"] = field(default_factory=list)

    def ask(self, *words: str) -> list["asyncio.Future[str]"]:
        return [self.connection.send(("ECHO", word)) for word in words]

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


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    where: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": listening.sockets[0].getsockname()[1],
        "protocol": 2,
    }
    server.connection = Connection(
        ConnectionPool(**where, retry=Retry(NoBackoff(), 0), decode_responses=True)
    )
    yield server
    server.go.set()
    await server.connection.aclose()
    listening.close()
    await asyncio.gather(*filter(None, server.tasks), return_exceptions=True)


async def test_who_asks_while_others_wait_for_an_answer_is_heard_at_once(server: Server) -> None:
    first = server.ask("a")
    await server.came.wait()
    others = server.ask("b", "c")
    server.go.set()
    assert await asyncio.gather(*first, *others) == ["a", "b", "c"]
    assert server.writes[0] == ["a"]


async def test_a_crowd_is_written_in_pieces_that_the_store_can_begin_with(server: Server) -> None:
    server.go.set()
    await asyncio.gather(*server.ask("warm"))
    crowd = [f"w{number}" for number in range(TOGETHER + 1)]
    assert await asyncio.gather(*server.ask(*crowd)) == crowd
    assert [word for words in server.writes[1:] for word in words] == crowd


async def test_one_callers_error_is_not_its_neighbours(server: Server) -> None:
    server.go.set()
    answers = await asyncio.gather(*server.ask("a", "refused", "c"), return_exceptions=True)
    assert [answers[0], answers[2]] == ["a", "c"]
    with pytest.raises(ResponseError, match="no"):
        raise answers[1]  # type: ignore[misc]


async def test_a_caller_who_hangs_up_leaves_the_others_their_answers(server: Server) -> None:
    leaving, staying = server.ask("a", "b")
    await server.came.wait()
    leaving.cancel()
    server.go.set()
    assert await staying == "b"


async def test_what_a_lost_connection_left_unanswered_is_asked_again(server: Server) -> None:
    server.cuts = 1
    server.go.set()
    assert await asyncio.gather(*server.ask("a", "b")) == ["a", "b"]


async def test_a_store_that_closes_every_connection_is_given_up(server: Server) -> None:
    server.cuts = 2 * MOST_LOST
    server.go.set()
    with pytest.raises(RedisConnectionError):
        await asyncio.gather(*server.ask("a"))


async def test_who_waits_behind_an_answer_that_hangs_waits_no_longer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.store.exchange.LONGEST_S", 0.03)
    failures = await asyncio.gather(*server.ask("a", "b"), return_exceptions=True)
    assert [type(failure) for failure in failures] == [RedisTimeoutError] * 2


async def test_a_process_that_stops_waits_for_no_answer_and_asks_nothing_more(server: Server) -> None:
    (asked,) = server.ask("a")
    await server.came.wait()
    await server.connection.aclose()
    assert asked.cancelled()
    assert server.ask("b")[0].cancelled()
    assert server.writes == [["a"]]


async def test_nobody_waits_for_a_connection_that_is_closed_before_it_began(server: Server) -> None:
    (answer,) = server.ask("a")
    await server.connection.aclose()
    assert answer.cancelled()
