"""Where a connection may go: to checked addresses of a name, and to whom a certificate says it is."""

import socket
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from shared.settings import FetchSettings
from shared.url_guard import IPAddress
from tests.support.fetching import LIMIT, OK, alone, refused, resolving_to
from tests.support.patience import PATIENCE_S
from tests.support.pictures import answering, origin
from worker.fetching import guarded_http
from worker.fetching.fetch import fetch

NAMED = FetchSettings(allow=("pictures.example",), limit_s=PATIENCE_S)
AUTHORITY = trustme.CA()


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://localhost.local/",
        "file:///etc/passwd", "//user:secret@127.0.0.1/", "http://0x7f.1/", "http://rebound.example/",
    ],
)  # fmt: skip
def test_a_redirect_is_no_way_around_the_guard(location: str) -> None:
    found = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode()
    with origin(answering(found)) as server:
        error = refused(server.url, resolver=resolving_to("192.168.0.1"))
    assert (error.code, len(server.requests)) == ("invalid_image_url", 1)


@pytest.mark.parametrize(
    "addresses",
    [
        ("10.0.0.1",), ("1.1.1.1", "10.0.0.1"), ("1.1.1.1", "::1"), ("2606:4700::1", "::ffff:127.0.0.1"),
        ("169.254.169.254",), ("100.64.0.1",), ("64:ff9b::a00:1",),
    ],
)  # fmt: skip
def test_one_private_answer_condemns_a_name(
    addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the system resolves it."""
    answers = [(0, 0, 0, "", (address, 80)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    error = refused("http://pictures.example/")
    assert error.code == "invalid_image_url"
    assert not any(address in error.message for address in addresses)


def test_the_name_is_looked_up_once_and_the_connection_goes_to_that_address() -> None:
    calls: list[str] = []
    with origin(answering(OK, b"\r\npicture")) as server:
        url = f"http://pictures.example:{server.port}/"
        body = fetch(url, NAMED, LIMIT, "image", alone(NAMED), resolving_to("127.0.0.1", calls=calls))
    assert body == b"picture"
    assert calls == [f"pictures.example:{server.port}"]
    assert f"\r\nHost: pictures.example:{server.port}\r\n".encode() in server.requests[0]


def test_an_address_that_refuses_gives_way_to_the_next() -> None:
    with origin(answering(OK, b"\r\npicture")) as server:
        url = f"http://pictures.example:{server.port}/"
        assert fetch(url, NAMED, LIMIT, None, alone(NAMED), resolving_to("::1", "127.0.0.1")) == b"picture"


def test_an_address_that_hangs_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    connect, given = socket.create_connection, list[float]()

    def hanging(address: tuple[str, int], timeout: float) -> socket.socket:
        given.append(timeout)
        if address[0] == "::1":
            raise TimeoutError
        return connect(address, timeout)

    monkeypatch.setattr("worker.fetching.guarded_http.socket.create_connection", hanging)
    with origin(answering(OK, b"\r\npicture")) as server:
        url = f"http://pictures.example:{server.port}/"
        assert fetch(url, NAMED, LIMIT, None, alone(NAMED), resolving_to("::1", "127.0.0.1")) == b"picture"
    assert given[0] <= PATIENCE_S / 2


def test_a_file_of_exactly_the_size_that_is_allowed_is_taken() -> None:
    sized = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
    for head in (sized, OK + b"\r\n"):
        with origin(answering(head, b"picture")) as server:
            url = f"http://pictures.example:{server.port}/"
            assert fetch(url, NAMED, 7, None, alone(NAMED), resolving_to("127.0.0.1")) == b"picture"


def test_a_name_without_address_and_a_closed_port_are_failed_fetches() -> None:
    def unknown(_host: str, _port: int) -> list[IPAddress]:
        raise OSError

    assert "no address" in refused("http://pictures.example/", resolver=unknown).message
    with origin(answering()) as server:
        pass
    error = refused(server.url)
    assert (error.code, "could not be reached" in error.message) == ("fetch_failed", True)


def served_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("pictures.example").configure_cert(context)
    return context


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def test_a_python_without_certificates_of_its_own_trusts_the_usual_authorities(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As python.org's is on macOS."""
    monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    paths = SimpleNamespace(cafile=None, capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    guarded_http._tls.cache_clear()
    trusted = guarded_http._tls().cert_store_stats()["x509_ca"]
    guarded_http._tls.cache_clear()
    assert trusted > 100


def test_tls_is_checked_against_the_name_not_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_http, "_tls", trusting)
    settings = FetchSettings(allow=("pictures.example", "other.example"), limit_s=PATIENCE_S)
    with origin(answering(OK, b"\r\npicture"), served_tls()) as server:
        urls = [f"https://{name}.example:{server.port}/" for name in ("pictures", "other")]
        assert (
            fetch(urls[0], settings, LIMIT, "image", alone(settings), resolving_to("127.0.0.1")) == b"picture"
        )
        assert "TLS" in refused(urls[1], settings, resolver=resolving_to("127.0.0.1")).message


def test_an_untrusted_certificate_is_refused() -> None:
    with origin(answering(OK, b"\r\npicture"), served_tls()) as server:
        url = f"https://pictures.example:{server.port}/"
        assert "TLS" in refused(url, NAMED, resolver=resolving_to("127.0.0.1")).message
    assert server.requests == []
