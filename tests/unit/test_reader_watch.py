"""What counts as read of an answer that waits."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import Mock

import pytest

from api.wire.reader_watch import UNREAD, ReaderWatch

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


def test_a_slow_and_steady_reader_is_not_cut_off_for_what_the_kernel_holds() -> None:
    with waiting() as answer:
        for _ in range(3):
            answer.take(4 * UNREAD)
            answer.time_passes()
            assert not answer.is_cut_off


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
