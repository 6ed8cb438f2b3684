"""Heads of requests that no client writes, as far as the application reads them."""

from collections.abc import Iterator

from tests.safety.wires import GET, HOST, POST, Wire, only

LONG = only(400, 431)
HOSTS = (
    b"a.example", b"", b"127.0.0.1@a.example", b"127.0.0.1 a.example", b"\xff", b"[::1", b"a" * 9000, b"127.0.0.1:x",
)  # fmt: skip
SAID = (
    b"Idempotency-Key: " + b"k" * 9000, b"Idempotency-Key: \xff\xfe", b"Idempotency-Key: :*{}\t%0d%0a", b"Prefer: wait=" + b"9" * 5000,
    b"Prefer: wait=-1", b"Prefer: wait=\xd9\xa1", b"Prefer: " + b"wait," * 9000, b"Last-Event-ID: " + b"9" * 5000, b"Last-Event-ID: -1",
    b"X-Request-Id: a%0d%0aSet-Cookie: b", b"X-Request-Id: " + b"a" * 5000, b"Traceparent: 00-" + b"0" * 5000, b"Tracestate: " + b"a=b," * 9000,
    b"Authorization: Bearer " + b"a" * 9000, b"Authorization: " + b"Bearer " * 5000, b"Authorization: \xff", b"Accept: " + b"a/b;q=9," * 7000,
    b"Origin: null", b"X-Forwarded-For: 127.0.0.1, " + b"a" * 5000, b"Forwarded: for=\"[::1]", b"X-HTTP-Method-Override: DELETE",
    b"Cookie: " + b"a=b;" * 9000, b"User-Agent: " + b"@huggingface/" * 4000, b"Range: bytes=" + b"0-," * 9000, b"Content-Encoding: " + b"gzip," * 9000,
)  # fmt: skip
PATHS = (
    b"//", b"///etc/passwd", b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"/v1/jobs/%00", b"/v1/jobs/%ff%fe",
    b"/v1/jobs/..%2f..", b"/v1/jobs/job_" + b"0" * 5000, b"/v1/jobs/*", b"/v1/jobs/sl9:lease", b"/v1/jobs?limit=-1",
    b"/v1/jobs?limit=1e9", b"/v1/jobs?limit=" + b"9" * 5000, b"/v1/jobs?limit=%D9%A1", b"/v1/jobs?after=%00",
    b"/v1/jobs?status=x&status=queued", b"/v1/jobs?" + b"a=b&" * 5000, b"/v1/jobs?=&=&&;", b"/v1/jobs/%", b"/v1/jobs/%zz",
    b"/models/", b"/models/..", b"/models/%2e%2e%2fetc", b"/models/test/echo/../../health", b"/models/" + b"a/" * 3000,
    b"/status/" + b"%F0%9F%98%80" * 1000, b"/v1/models/%ud800", b"/openapi.json?", b"/.git/config", b"/docs", b"/metrics",
    b"/v1/files/..%2f..%2fetc%2fpasswd/content", b"/v1/files/%00/content", b"/v1/jobs/job_x/events?after=-5", b"/a\tb",
)  # fmt: skip


def heads() -> Iterator[Wire]:
    for path in PATHS:
        yield Wire(f"the path {path[:40]!a}", b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    for path in (b"/v1/jobs/job_0/events", b"/metrics"):
        for said in SAID:
            head = b"GET " + path + b" HTTP/1.1\r\n" + HOST + said
            yield Wire(f"{path!a} and {said[:40]!a}", head + b"\r\n\r\n")
    for said in SAID:
        yield Wire(f"a job and {said[:40]!a}", POST + said + b"\r\nContent-Length: 2\r\n\r\n{}")
    for host in HOSTS:
        yield Wire(f"the host {host[:20]!a}", b"GET /health HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    yield from long()


def long() -> Iterator[Wire]:
    yield Wire("a header of 100 KB", GET + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n", LONG)
    yield Wire("20,000 headers", GET + b"X-A: b\r\n" * 20_000 + b"\r\n", LONG)
    yield Wire("a head without an end", GET + b"X-A: b\r\n" * 200_000, only(400))
    path = b"GET /" + b"a" * 100_000
    yield Wire("a path of 100 KB", path + b" HTTP/1.1\r\n" + HOST + b"\r\n", only(400, 431))
    yield Wire("a query of 60 KB", b"GET /v1/jobs?after=" + b"a" * 60_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    yield Wire("5,000 requests at once", (GET + b"\r\n") * 5000, only(200))
