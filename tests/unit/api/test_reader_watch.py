"""What counts as read of an answer that waits."""

import asyncio
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest

from api.server.reader_watch import UNREAD, ReaderWatch
from tests.support.tls import certificates

HELD = 2**20


class Waiting:
    """An answer that fills what the kernel keeps of it, so that the transport can hand over nothing."""

    def __init__(self, server: socket.socket, reader: socket.socket) -> None:
        self._reader = reader
        self.transport = Mock(asyncio.Transport)
        self.transport.get_extra_info.side_effect = {"socket": server}.get
        self.transport.get_write_buffer_size.return_value = HELD
        self.loop = Mock(asyncio.AbstractEventLoop)
        ReaderWatch(self.transport, self.loop).begin()

    def take(self, size: int) -> None:
        while size > 0:
            size -= len(self._reader.recv(size))

    def time_passes(self) -> None:
        _, look, *arguments = self.loop.call_later.call_args.args
        look(*arguments)

    @property
    def is_cut_off(self) -> bool:
        return bool(self.transport.abort.called)


@contextmanager
def waiting() -> Iterator[Waiting]:
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket() as reader:
        # As small as its buffer is, what it reads it acknowledges at once.
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD)
        reader.connect(port.getsockname())
        server, _ = port.accept()
        with server:
            server.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    server.send(bytes(HELD))
            yield Waiting(server, reader)


@pytest.mark.parametrize("system", [sys.platform, "another"])
def test_a_slow_and_steady_reader_is_not_cut_off_for_what_the_kernel_holds(
    monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    monkeypatch.setattr("sys.platform", system)
    with waiting() as answer:
        for _ in range(3):
            answer.take(4 * UNREAD)
            answer.time_passes()
            assert not answer.is_cut_off


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell what was acknowledged")
async def test_a_slow_and_steady_reader_over_tls_is_not_cut_off_for_what_waits_below_it(
    tmp_path: Path,
) -> None:
    made, serving = certificates(tmp_path), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(made.cert, made.key)
    context, loop = ssl.create_default_context(cafile=str(made.ca)), Mock(asyncio.AbstractEventLoop)
    writers = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(bytes(16 * HELD))
        ReaderWatch(cast(asyncio.Transport, writer.transport), loop).begin()

    async with asyncio.timeout(60), await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving) as server:
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, ssl=context, limit=UNREAD)
        for _ in range(12):
            await reader.readexactly(HELD)
            _, look, *arguments = loop.call_later.call_args.args
            look(*arguments)
        await reader.readexactly(4 * HELD)
        for each in (writer, *writers):
            each.transport.abort()


def test_who_takes_nothing_of_what_the_kernel_holds_is_cut_off() -> None:
    with waiting() as answer:
        answer.time_passes()
        assert answer.is_cut_off


@pytest.mark.parametrize("taken", [UNREAD - 1, UNREAD])
def test_where_the_system_does_not_tell_what_it_holds_what_leaves_the_process_counts(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    def unknown(*_: Any) -> Any:
        raise OSError

    monkeypatch.setattr("sys.platform", "another")
    monkeypatch.setattr("fcntl.ioctl", unknown)
    with waiting() as answer:
        answer.transport.get_write_buffer_size.return_value = HELD - taken
        answer.time_passes()
        assert answer.is_cut_off == (taken < UNREAD)


def _closed() -> socket.socket:
    with socket.socket() as closed:
        return closed


@pytest.mark.parametrize("left", [None, _closed()], ids=["nothing", "a closed socket"])
def test_a_connection_that_is_just_lost_is_let_go_without_an_error(left: socket.socket | None) -> None:
    with waiting() as answer:
        answer.transport.get_extra_info.side_effect = {"socket": left}.get
        answer.time_passes()
