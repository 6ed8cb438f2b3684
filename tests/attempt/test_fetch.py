"""A picture's bytes from its origin: whole, or refused in time and without the origin's words."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from shared.errors import CallerError, Unavailable
from shared.media.pictures import PICTURE
from shared.settings import FetchSettings
from shared.url_guard import BucketObject, IPAddress
from tests.support.clients import until
from tests.support.clouds import cloud
from tests.support.fetching import LIMIT, LOOPBACK, OK, alone, fetched, refused
from tests.support.object_store import BUCKET
from tests.support.patience import PATIENCE_S
from tests.support.pictures import Serve, answering, dripping, origin
from worker.fetching.fetch import HOSTS, fetch
from worker.fetching.guarded_http import Allowance, receive
from worker.fetching.intake import fetch_object

HASTY = FetchSettings(allow=("127.0.0.1",), limit_s=0.4)


@pytest.mark.parametrize(
    "answer",
    [
        (OK, b"Content-Length: 7\r\n\r\npicture"),
        (OK, b"Transfer-Encoding: chunked\r\n\r\n3\r\npic\r\n4\r\nture\r\n0\r\n\r\n"),
        (OK, b"\r\npicture"),
        (OK, b"Content-Encoding: identity\r\nContent-Length: 7\r\n\r\npicture"),
        (OK, b"Content-Encoding: Identity\r\nContent-Encoding: identity\r\n\r\npicture"),
        (OK, b"Content-Encoding: UTF-8\r\n\r\npicture"),
        (OK, b"Content-Encoding: aws-chunked\r\n\r\npicture"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", OK, b"Content-Length: 7\r\n\r\npicture"),
        (b"HTTP/1.0 200 OK\r\n\r\npicture",),
    ],
)
def test_a_picture_is_fetched_however_its_end_is_marked(answer: tuple[bytes, ...]) -> None:
    with origin(answering(*answer)) as server:
        assert fetched(server) == b"picture"


def test_the_request_carries_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy")
    with origin(answering(OK, b"\r\npicture")) as server:
        fetched(server)
    head = server.requests[0].decode().lower()
    assert head.startswith("get /picture http/1.1\r\nhost: 127.0.0.1:")
    assert "accept-encoding: identity\r\n" in head
    assert "cookie" not in head
    assert "authorization" not in head


BAD_ANSWERS = {
    "server error": (b"HTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\nsecret", "status 500"),
    "not found": (b"HTTP/1.1 404 No\r\n\r\nsecret", "status 404"),
    "nothing": (b"", "HTTP protocol"),
    "no HTTP": (b"SSH-2.0-secret\r\n", "HTTP protocol"),
    "cut short": (OK + b"Content-Length: 50\r\n\r\nsecret", "HTTP protocol"),
    "cut chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n50\r\nsecret", "HTTP protocol"),
    "negative chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nsecret", "HTTP protocol"),
    "gzip": (OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8bsecret", "content coding"),
    "a second coding": (OK + b"Content-Encoding: identity, GZip\r\n\r\n\x1f\x8bsecret", "content coding"),
    "a part": (b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-5/9\r\n\r\nsecret", "status 206"),
    "large by its word": (OK + b"Content-Length: 100001\r\n\r\nsecret", "larger than"),
    "large indeed": (OK + b"\r\n" + b"secret" * 20_000, "larger than"),
    "large head": (OK + b"X-Secret: a\r\n" * 50_000, "HTTP protocol|headers do not end"),
    "early answers": (b"HTTP/1.1 102 Wait\r\n\r\n" * 50_000, "headers do not end"),
    "redirect to nowhere": (b"HTTP/1.1 302 Found\r\n\r\nsecret", "nowhere"),
    "redirect to no URL": (b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n", "no URL"),
}


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_what_the_origin_does_wrong_is_said_once_without_its_words(answer: bytes, reason: str) -> None:
    with origin(answering(answer)) as server:
        error = refused(server.url)
    assert (error.code, error.status) == ("fetch_failed", 400)
    with pytest.raises(CallerError, match=reason):
        raise error
    assert "secret" not in error.message.lower()
    assert len(server.requests) == 1


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece", "reason"),
    [
        (OK + b"\r\n", bytes(65_536), "larger than"),
        (CHUNKED + b"0\r\n", b"X-A: b\r\n" * 1000, "HTTP protocol"),
        (CHUNKED + b"1;a=", b"b" * 65_536, "HTTP protocol"),
    ],
    ids=["body", "trailers", "a chunk's note"],
)
def test_what_an_origin_sends_without_end_is_cut(head: bytes, piece: bytes, reason: str) -> None:
    with origin(dripping(head, piece, 0)) as server:
        assert reason in refused(server.url).message


SLOW: dict[str, Serve] = {
    "silence": dripping(b"", b"", 0.05),
    "slow headers": dripping(OK, b"X-A: b\r\n", 0.05),
    "slow body": dripping(OK + b"Content-Length: 50000\r\n\r\n", b"x", 0.05),
    "slow chunks": dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05),
    "early answers": dripping(b"", b"HTTP/1.1 102 Wait\r\n\r\n", 0.05),
    "slow redirects": dripping(b"HTTP/1.1 302 Found\r\n", b"X-A: b\r\n", 0.05),
}


@pytest.mark.parametrize("serve", SLOW.values(), ids=SLOW.keys())
def test_one_deadline_covers_every_kind_of_slowness(serve: Serve) -> None:
    with origin(serve) as server:
        error = refused(server.url, HASTY)
    assert (error.code, "longer than 0.4 s" in error.message) == ("fetch_failed", True)


class Standing:
    """A connection that says nothing in time where its machine stands still, for so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self._now, self._left = 0.0, times
        monkeypatch.setattr("worker.fetching.guarded_http.time", self)

    def monotonic(self) -> float:
        return self._now

    def settimeout(self, wait_s: float) -> None:
        assert wait_s <= HASTY.limit_s / 2

    def recv(self, _: int) -> bytes:
        if not self._left:
            return b"picture"
        self._left -= 1
        self._now += 10 * HASTY.limit_s
        raise TimeoutError


def test_no_picture_is_lost_because_a_courier_s_machine_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    connection: Any = Standing(monkeypatch, times=1)
    assert receive(connection, alone(HASTY)) == b"picture"


def test_an_origin_that_keeps_silent_is_given_up_after_two_halves_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection: Any = Standing(monkeypatch, times=2)
    with pytest.raises(TimeoutError):
        receive(connection, alone(HASTY))


def test_slow_dns_counts_towards_the_deadline() -> None:
    asked, over = threading.Event(), threading.Event()

    def resolver(_host: str, _port: int) -> list[IPAddress]:
        asked.set()
        over.wait(PATIENCE_S)
        return []

    def is_refused() -> bool:
        """And had the time to ask."""
        error = refused("http://pictures.example/", HASTY, resolver=resolver)
        assert (error.code, "longer than" in error.message) == ("fetch_failed", True)
        return asked.is_set()

    until(is_refused)
    over.set()


def test_a_slow_tls_handshake_counts_towards_the_deadline() -> None:
    # The origin reads the ClientHello and says nothing more.
    with origin(dripping(b"", b"", 0.05)) as server:
        error = refused(server.url.replace("http:", "https:"), HASTY)
    assert "longer than 0.4 s" in error.message


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("../other?x=1", b"/other?x=1"),
        ("/my picture.png", b"/my%20picture.png"),
        ("/é.png", b"/%C3%A9.png"),
    ],
)
def test_a_redirect_within_the_origin_is_followed(location: str, asked: bytes) -> None:
    answers = iter([redirect(location), OK + b"\r\npicture"])
    with origin(lambda connection, _: connection.sendall(next(answers))) as server:
        assert fetched(server) == b"picture"
    assert server.requests[1].startswith(b"GET " + asked + b" HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("location", "why"),
    [("file:///etc/passwd", "Only http"), ("http://a:b@pictures.example/", "credentials")],
)
def test_who_is_refused_for_a_redirect_reads_that_it_is_one(location: str, why: str) -> None:
    with origin(answering(redirect(location))) as server:
        error = refused(server.url)
    assert error.code == "invalid_image_url"
    assert error.message.startswith("The URL redirects to another, which is refused: ")
    assert why in error.message


def test_a_url_that_redirects_for_ever_is_given_up_after_three() -> None:
    with origin(answering(b"HTTP/1.1 307 Again\r\nLocation: /picture\r\n\r\n")) as server:
        assert "redirects more than 3 times" in refused(server.url).message
    assert len(server.requests) == 4


def test_no_host_is_flooded() -> None:
    most, inside, together, go_on = 8, threading.Semaphore(0), [0], threading.Event()
    lock = threading.Lock()

    def resolver(_host: str, _port: int) -> list[IPAddress]:
        with lock:
            together[0] += 1
        inside.release()
        go_on.wait(PATIENCE_S)
        return []

    def asked(host: str) -> str:
        return refused(
            f"http://{host}.example/", FetchSettings(limit_s=PATIENCE_S), resolver=resolver
        ).message

    with ThreadPoolExecutor(most + 3) as threads:
        crowd = [threads.submit(asked, "crowded") for _ in range(most + 2)]
        for _ in range(most):
            assert inside.acquire(timeout=PATIENCE_S)
        other = threads.submit(asked, "quiet")
        assert inside.acquire(timeout=PATIENCE_S), "another host's pictures had to wait"
        assert not inside.acquire(timeout=0.1)
        assert together[0] == most + 1
        go_on.set()
        assert all("no address" in future.result(PATIENCE_S) for future in [*crowd, other])


def test_who_waits_in_vain_for_a_crowded_host_is_not_told_that_its_origin_is_slow() -> None:
    hurried = FetchSettings(limit_s=1)
    with ExitStack() as stack:
        for caller in "abcdefghi":
            stack.enter_context(HOSTS.reserve("pictures.example", caller, 1))
        with pytest.raises(Unavailable):
            fetch("http://pictures.example/", hurried, LIMIT, "image", alone(hurried))


def test_fetching_ends_when_nobody_waits_for_it_any_more() -> None:
    cancel = threading.Event()

    def serve(connection: socket.socket, stop: threading.Event) -> None:
        cancel.set()
        dripping(OK + b"\r\n", b"x", 0.01)(connection, stop)

    settings = LOOPBACK.model_copy(update={"limit_s": 600})
    with origin(serve) as server, pytest.raises(CallerError):
        fetch(server.url, settings, 10**9, "image", Allowance(600, 10**9, cancel))


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_a_file_in_a_bucket_of_another_cloud_is_fetched(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(key: str) -> bytes:
        allowance = Allowance(LOOPBACK.limit_s, 100, threading.Event())
        return fetch_object(BucketObject(scheme, BUCKET, key), LOOPBACK, 100, "image", allowance, PICTURE)

    with cloud() as server:
        server.objects |= {"shared/a b%.png": b"picture", "shared/large.png": bytes(101)}
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        assert read("shared/a b%.png") == b"picture"
        for key, reason in (("shared/none.png", "no such object"), ("shared/large.png", "larger than")):
            with pytest.raises(CallerError, match=reason):
                read(key)
