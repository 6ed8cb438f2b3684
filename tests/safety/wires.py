"""Requests below HTTP's rules: bytes on a connection, with pauses, and what may be answered to them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
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
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = b"2\r\n{}\r\n0\r\n\r\n"


def only(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


def slow() -> Iterator[Wire]:
    """Who takes a connection and gives nothing for it."""
    late = only(408)
    yield Wire("a head in drops", b"GET /health HTTP/1.1\r\n", late, b"X")
    yield Wire("headers in drops", GET, late, b"X-A: b\r\n")
    yield Wire("a head that stops", GET, late)
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


def framed() -> Iterator[Wire]:
    """Lengths and chunks that contradict themselves, as smuggled requests do."""
    bad = only(400)
    for name, lines in {
        "both": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n",
        "a length with a sign": b"Content-Length: +2\r\n",
        "a length below nothing": b"Content-Length: -2\r\n",
        "a length of words": b"Content-Length: two\r\n",
        "a length in hexadecimal": b"Content-Length: 0x2\r\n",
        "a list of lengths": b"Content-Length: 2, 2\r\n",
        "gzip in transfer": b"Transfer-Encoding: gzip\r\n",
        "an unknown transfer": b"Transfer-Encoding: xchunked\r\n",
        "a blank before the colon": b"Transfer-Encoding : chunked\r\n",
        "a folded line": b"Transfer-Encoding:\r\n chunked\r\n",
    }.items():
        yield Wire(name, POST + lines + b"\r\n{}", only(400, 413, 408))
    for name, lines in {
        "a length beyond the limit": b"Content-Length: 26214401\r\n",
        "a length beyond counting": b"Content-Length: " + b"9" * 19 + b"\r\n",
    }.items():
        yield Wire(name, POST + lines + b"\r\n{}", only(400, 413))
    for name, data in {
        "a chunk of words": b"ZZ\r\n{}\r\n",
        "a chunk below nothing": b"-1\r\n{}\r\n",
        "a chunk beyond counting": b"f" * 17 + b"\r\n{}",
        "a chunk without end": b"2\r\n{}",
        "a chunk longer than it says": b"1\r\n{}\r\n0\r\n\r\n",
    }.items():
        yield Wire(name, CHUNKED + data, only(400, 408))
    yield Wire("a chunk's note of megabytes", CHUNKED + b"1;a=" + b"b" * 2**21, only(400, 431))
    yield Wire("30 MB in chunks", CHUNKED + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 480, only(413))
    yield Wire("30 MB of a length", POST + b"Content-Length: 31457280\r\n\r\n" + b" " * 31_457_280, only(413))
    yield Wire("twice transferred", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + BODY, only(400))
    yield Wire("in capitals", POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n" + BODY, bad)
    yield Wire("a request behind a body", POST + b"Content-Length: 2\r\n\r\n{}" + GET + b"\r\n", bad)


def heads() -> Iterator[Wire]:
    bad = only(400)
    for name, line in {
        "no version": b"GET /health\r\n",
        "an old version": b"GET /health HTTP/0.9\r\n",
        "a version to come": b"GET /health HTTP/3.0\r\n",
        "a version of words": b"GET /health HTTP/x.y\r\n",
        "no path": b"GET  HTTP/1.1\r\n",
        "an unknown method": b"BREW /health HTTP/1.1\r\n",
        "a method of a kilobyte": b"G" * 1000 + b" /health HTTP/1.1\r\n",
        "bytes beyond ASCII": b"GET /\xff\xfe HTTP/1.1\r\n",
        "a zero byte": b"GET /\0 HTTP/1.1\r\n",
    }.items():
        yield Wire(name, line + HOST + b"\r\n", only(200, 400, 404, 405))
    for name, data in {
        "TLS": b"\x16\x03\x01\x02\0\1\0\1\xfc\x03\x03" + bytes(600),
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(50),
        "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
        "Redis": b"*1\r\n$4\r\nPING\r\n",
        "zeros": bytes(5000),
        "a header without colon": GET + b"nothing\r\n\r\n",
        "a header without name": GET + b": a\r\n\r\n",
        "a zero byte in a header": GET + b"X-A: a\0b\r\n\r\n",
        "a line feed in a header": GET + b"X-A: a\nX-B: b\r\n\r\n",
        "a return in a header": GET + b"X-A: a\rb\r\n\r\n",
        "a header beyond ASCII": GET + b"X-A: \xff\xfe\r\n\r\n",
        "two hosts": GET + HOST + b"\r\n",
        "no host": b"GET /health HTTP/1.1\r\n\r\n",
        "an upgrade": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n\r\n",
        "an upgrade to HTTP/2": GET
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        "an expectation": POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
        "an unknown expectation": POST + b"Expect: miracles\r\nContent-Length: 2\r\n\r\n{}",
        "a range": GET + b"Range: bytes=0-0,-1,5-2\r\n\r\n",
    }.items():
        yield Wire(name, data)
    long = only(431)
    yield Wire("a header of 100 KB", GET + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n", long)
    yield Wire("a header without end", GET + b"X-A: " + b"a" * 1_000_000, long)
    yield Wire("20,000 headers", GET + b"X-A: b\r\n" * 20_000 + b"\r\n", long)
    yield Wire(
        "a path of 100 KB", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", only(431, 414)
    )
    yield Wire("a query of 60 KB", b"GET /v1/jobs?after=" + b"a" * 60_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    yield Wire("blank lines without end", b"\r\n" * 200_000, only(400, 431))
    yield Wire("5,000 requests at once", (GET + b"\r\n") * 5000, only(200, 403))
    for path in PATHS:
        yield Wire(f"the path {path[:40]!a}", b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    for host in (
        b"a.example",
        b"",
        b"127.0.0.1@a.example",
        b"127.0.0.1 a.example",
        b"\xff",
        b"[::1",
        b"a" * 9000,
        b"127.0.0.1:x",
    ):
        yield Wire(f"the host {host[:20]!a}", b"GET /health HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    for method in (b"OPTIONS", b"TRACE", b"CONNECT", b"PUT", b"PATCH", b"HEAD", b"PROPFIND", b"DELETE"):
        yield Wire(f"the method {method!a}", method + b" /v1/jobs HTTP/1.1\r\n" + HOST + b"\r\n")
    yield Wire("a method without path", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")
    yield Wire("a whole URL", b"GET http://127.0.0.1/health HTTP/1.1\r\n" + HOST + b"\r\n")
    yield Wire("a proxy's request", b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + HOST + b"\r\n")
    yield Wire("nothing but a line", b"\n", bad | only(408))


PATHS = (
    b"//", b"///etc/passwd", b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"/v1/jobs/%00", b"/v1/jobs/%ff%fe",
    b"/v1/jobs/..%2f..", b"/v1/jobs/job_" + b"0" * 5000, b"/v1/jobs/*", b"/v1/jobs/sl2:lease", b"/v1/jobs?limit=-1",
    b"/v1/jobs?limit=1e9", b"/v1/jobs?limit=" + b"9" * 5000, b"/v1/jobs?limit=%D9%A1", b"/v1/jobs?after=%00",
    b"/v1/jobs?status=x&status=queued", b"/v1/jobs?" + b"a=b&" * 5000, b"/v1/jobs?=&=&&;", b"/v1/jobs/%", b"/v1/jobs/%zz",
    b"/models/", b"/models/..", b"/models/%2e%2e%2fetc", b"/models/test/echo/../../health", b"/models/" + b"a/" * 3000,
    b"/status/" + b"%F0%9F%98%80" * 1000, b"/v1/models/%ud800", b"/openapi.json?", b"/.git/config", b"/docs", b"/metrics",
    b"/v1/files/..%2f..%2fetc%2fpasswd/content", b"/v1/files/%00/content", b"/v1/jobs/job_x/events?after=-5", b"/a\tb",
)  # fmt: skip
WIRES = tuple(wire for group in (slow, framed, heads) for wire in group())


def met(url: str, wire: Wire) -> Answer:
    """The first answer, whole. Raises OSError or AssertionError where there is none, or none in time."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), LIMIT_S) as connection:
        over = threading.Event()
        thread = threading.Thread(target=_send, args=(connection, wire, over), daemon=True)
        thread.start()
        try:
            return _answer(connection.makefile("rb"))
        finally:
            over.set()
            thread.join()


def _send(connection: socket.socket, wire: Wire, over: threading.Event) -> None:
    with suppress(OSError):
        connection.sendall(wire.data)
        while wire.drops and not over.wait(PAUSE_S):
            connection.sendall(wire.drops)


def _answer(reader: "socket.SocketIO | object") -> Answer:
    line = reader.readline()  # type: ignore[attr-defined]
    assert line.startswith(b"HTTP/1."), line
    headers = {}
    while header := reader.readline().strip():  # type: ignore[attr-defined]
        name, _, value = header.partition(b":")
        headers[name.lower()] = value.strip().decode()
    body = reader.read(int(headers.get(b"content-length", "0")))  # type: ignore[attr-defined]
    status = int(line.split()[1])
    return checked(status, headers.get(b"content-type", ""), body) if body else Answer(status, "", "")
