"""Bytes on a connection, with pauses, and what may be answered to them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

from tests.safety.answers import LIMIT_S, Answer, checked

PAUSE_S = 0.4
ANY = frozenset(range(200, 500))


@dataclass(frozen=True)
class Wire:
    """`drops` come one after the other with a pause, for as long as nothing is answered."""

    name: str
    data: bytes
    statuses: frozenset[int] = ANY
    drops: bytes = b""


HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST
IN_CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKED = POST + IN_CHUNKS


def only(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


def slow() -> Iterator[Wire]:
    """Who takes a connection and gives nothing for it."""
    late = only(408)
    yield Wire("a body that stops", POST + b"Content-Length: 1000\r\n\r\n{", late)
    yield Wire("a body in drops", POST + b"Content-Length: 1000\r\n\r\n", late, b" ")
    yield Wire("chunks in drops", CHUNKED, late, b"1\r\n \r\n")
    yield Wire("chunks that stop", CHUNKED + b"5\r\n{", late)
    yield Wire("a form in drops", _form(), only(408, 400), b"-")
    yield Wire("a large body that stops", POST + b"Content-Length: 20000000\r\n\r\n" + b" " * 300_000, late)
    yield Wire("a chunk's note in drops", CHUNKED + b"1;a=", only(400, 408), b"b")
    yield Wire("a trailer in drops", CHUNKED + b"2\r\n{}\r\n0\r\n", only(400, 408), b"X-A: b\r\n")


def _form() -> bytes:
    kind = b"Content-Type: multipart/form-data; boundary=x\r\n"
    return b"POST /v1/files HTTP/1.1\r\n" + HOST + kind + b"Content-Length: 5000\r\n\r\n--x\r\n"


def large() -> Iterator[Wire]:
    """Bodies that are larger than the service takes."""
    yield Wire("a length beyond the limit", POST + b"Content-Length: 26214401\r\n\r\n{}", only(413))
    yield Wire("30 MB in chunks", CHUNKED + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 480, only(413))
    yield Wire("30 MB of a length", POST + b"Content-Length: 31457280\r\n\r\n" + b" " * 31_457_280, only(413))


def met(url: str, wire: Wire) -> Answer:
    """The first answer, whole. Raises OSError or AssertionError where there is none, or none in time."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), LIMIT_S) as connection:
        over = threading.Event()
        thread = threading.Thread(target=_send, args=(connection, wire, over), daemon=True)
        thread.start()
        try:
            reader = connection.makefile("rb")
            return _answer(reader)
        finally:
            over.set()
            thread.join()


def _send(connection: socket.socket, wire: Wire, over: threading.Event) -> None:
    with suppress(OSError):
        connection.sendall(wire.data)
        while wire.drops and not over.wait(PAUSE_S):
            connection.sendall(wire.drops)


def _answer(reader: BinaryIO) -> Answer:
    line = reader.readline()
    assert line.startswith(b"HTTP/1."), line
    headers = {}
    while header := reader.readline().strip():
        name, _, value = header.partition(b":")
        headers[name.lower()] = value.strip().decode()
    body = reader.read(int(headers.get(b"content-length", "0")))
    status = int(line.split()[1])
    if headers.get(b"content-type") == "text/plain; charset=utf-8":
        # No request came of it: it is answered before anybody knows in which dialect.
        assert status in (400, 431), body
        return Answer(status, "", "")
    return checked(status, headers.get(b"content-type", ""), body) if body else Answer(status, "", "")
