"""Fetching one remote picture: guarded, bounded in time and bytes, tried once.

The name is resolved once, every answer is checked, and the connection goes to a checked address while Host
and SNI keep the name, so a name that changes its mind between look and use (DNS rebinding) gains nothing.
The socket is driven here rather than by a client library because their time limits restart with every read.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urljoin

import h11

from shared.addresses import IPAddress, Target, check_url, may_connect
from shared.errors import CallerError
from shared.settings import FetchSettings

CHUNK = 65_536
HEAD_LIMIT = 131_072
REDIRECTS = frozenset({301, 302, 303, 307, 308})

Resolver = Callable[[str, int], list[IPAddress]]


class OriginError(Exception):
    """The origin did not deliver; the message is fit for the caller."""


class Answer(NamedTuple):
    """What one exchange brought: a place to look instead, or the body."""

    location: str | None
    body: bytes


class Allowance:
    """The time and bytes left for everything together; threads that fetch for the same job share one.

    It is used up at once when `cancel` is set.
    """

    def __init__(self, limit_s: float, max_bytes: int, cancel: threading.Event) -> None:
        self._end = time.monotonic() + limit_s
        self._max_bytes = self._left = max_bytes
        self._cancel = cancel
        self._lock = threading.Lock()

    def left(self) -> float:
        """Seconds left. Raises TimeoutError where there are none."""
        left = self._end - time.monotonic()
        if left <= 0 or self._cancel.is_set():
            raise TimeoutError
        return left

    def take(self, count: int) -> None:
        """Count received bytes. Raises OriginError where they are too many."""
        with self._lock:
            self._left -= count
            if self._left < 0:
                raise OriginError(f"the request's pictures are larger than {self._max_bytes} bytes together")


def resolve(host: str, port: int) -> list[IPAddress]:
    """All addresses of a name, as the system resolves it. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A scope id (fe80::1%eth0) is dropped: such an address is refused anyway.
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


def fetch(
    url: str,
    settings: FetchSettings,
    max_bytes: int,
    param: str | None,
    allowance: Allowance,
    resolver: Resolver = resolve,
) -> bytes:
    """The bytes behind `url`, redirects followed, each checked as the first URL was.

    Raises CallerError: `invalid_image_url` where the guard refuses, `fetch_failed` for anything the origin
    does, slowness included. Never takes longer than the allowance.
    """
    try:
        for _ in range(settings.max_redirects + 1):
            target = check_url(url, settings.allow, param)
            addresses = _checked_addresses(target, settings.allow, resolver, allowance, param)
            with _connect(target, addresses, allowance) as connection:
                answer = _exchange(connection, target, max_bytes, allowance)
            if answer.location is None:
                return answer.body
            url = _redirected(url, answer.location)
        raise OriginError(f"the URL redirects more than {settings.max_redirects} times")
    except OriginError as error:
        reason = str(error)
    except TimeoutError:
        reason = f"it took longer than {settings.limit_s:g} s"
    except ssl.SSLError:
        reason = "no trusted TLS connection could be made"
    except h11.RemoteProtocolError:
        reason = "the origin broke the HTTP protocol"
    except OSError:
        reason = "the origin could not be reached"
    raise CallerError("fetch_failed", f"The picture could not be fetched: {reason}.", param=param)


def _checked_addresses(
    target: Target, allow: tuple[str, ...], resolver: Resolver, allowance: Allowance, param: str | None
) -> list[IPAddress]:
    addresses = [target.address] if target.address else _resolve_within(target, resolver, allowance)
    # One bad answer condemns all: a name that mixes them is a rebinding attempt, not a picture host.
    if not all(may_connect(ip, target.host, allow) for ip in addresses):
        message = "The URL's host has an address that is not public."
        raise CallerError("invalid_image_url", message, param=param)
    return addresses


def _resolve_within(target: Target, resolver: Resolver, allowance: Allowance) -> list[IPAddress]:
    """Resolve in a thread of its own: getaddrinfo knows no time limit and may outlive this call."""
    found: list[IPAddress] = []
    failed: list[OSError | UnicodeError] = []

    def look_up() -> None:
        try:
            found.extend(dict.fromkeys(resolver(target.host, target.port)))
        except (OSError, UnicodeError) as error:
            failed.append(error)

    thread = threading.Thread(target=look_up, name="resolve", daemon=True)
    thread.start()
    thread.join(allowance.left())
    if thread.is_alive():
        raise TimeoutError
    if failed or not found:
        raise OriginError("its host name has no address")
    return found


def _connect(target: Target, addresses: list[IPAddress], allowance: Allowance) -> socket.socket:
    """A connection to the first address that takes it, TLS included. Raises OSError."""
    for rest, ip in zip(range(len(addresses), 0, -1), addresses, strict=True):
        try:
            connection = socket.create_connection((str(ip), target.port), timeout=allowance.left() / rest)
            break
        except OSError:
            if rest == 1:
                raise
    if target.scheme == "http":
        return connection
    try:
        connection.settimeout(allowance.left())
        return _tls().wrap_socket(connection, server_hostname=target.host)
    except OSError:
        connection.close()
        raise


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _exchange(connection: socket.socket, target: Target, max_bytes: int, allowance: Allowance) -> Answer:
    http = h11.Connection(h11.CLIENT)
    connection.settimeout(allowance.left())
    connection.sendall(_request(http, target))
    response = _read_head(http, connection, allowance)
    if response.status_code in REDIRECTS:
        return Answer(_header(response, b"location"), b"")
    if not 200 <= response.status_code < 300:
        raise OriginError(f"the origin answered with status {response.status_code}")
    if _header(response, b"content-encoding").lower() not in ("", "identity"):
        raise OriginError("the origin sent a content coding nobody asked for")
    length = _header(response, b"content-length")
    if length and int(length) > max_bytes:
        raise _too_large(max_bytes)
    return Answer(None, _read_body(http, connection, max_bytes, allowance))


def _request(http: h11.Connection, target: Target) -> bytes:
    headers = [
        ("Host", target.authority),
        ("User-Agent", "sightline"),
        ("Accept", "image/png, image/jpeg, image/webp, image/gif, */*;q=0.1"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    head = http.send(h11.Request(method="GET", target=target.path, headers=headers))
    return (head or b"") + (http.send(h11.EndOfMessage()) or b"")


def _read_head(http: h11.Connection, connection: socket.socket, allowance: Allowance) -> h11.Response:
    """The final response's head; informational ones are skipped, but count against the limit on heads."""
    received = 0
    while True:
        event = http.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            chunk = _receive(connection, allowance)
            received += len(chunk)
            if received > HEAD_LIMIT:
                raise OriginError("the origin's headers do not end")
            http.receive_data(chunk)


def _read_body(http: h11.Connection, connection: socket.socket, limit: int, allowance: Allowance) -> bytes:
    body = bytearray()
    while True:
        event = http.next_event()
        if isinstance(event, h11.EndOfMessage):
            return bytes(body)
        if event is h11.NEED_DATA:
            http.receive_data(_receive(connection, allowance))
        elif isinstance(event, h11.Data):
            body += event.data
            allowance.take(len(event.data))
            if len(body) > limit:
                raise _too_large(limit)


def _receive(connection: socket.socket, allowance: Allowance) -> bytes:
    connection.settimeout(allowance.left())
    return connection.recv(CHUNK)


def _header(response: h11.Response, name: bytes) -> str:
    found = [value for key, value in response.headers if key == name]
    return found[0].decode("utf-8", "replace").strip() if found else ""


def _redirected(url: str, location: str) -> str:
    if not location:
        raise OriginError("it redirects to nowhere")
    try:
        return urljoin(url, location)
    except ValueError:
        raise OriginError("it redirects to something that is no URL") from None


def _too_large(max_bytes: int) -> OriginError:
    return OriginError(f"it is larger than {max_bytes} bytes")
