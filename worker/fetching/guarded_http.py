"""Makes one guarded HTTP/1.1 exchange with a host that an untrusted client named.

The name is resolved once, every address is checked, and the connection goes to a checked address while Host
and SNI keep the name, so a name that resolves differently the next time (DNS rebinding) gains nothing. The
socket is driven here because client libraries restart their time limits with every read and obey proxies of
the environment.
"""

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import certifi
import h11

from shared.errors import CallerError, Unavailable
from shared.url_guard import AddressRules, IPAddress, Target, exemption, may_connect
from worker.fair_semaphore import KeyedFairSemaphore

CHUNK = 65_536
HEAD_LIMIT = 131_072
LONGEST_DELAY_S = 86_400.0
LOOK_S = 1.0
"""An exchange that is cancelled ends within this."""

Resolver = Callable[[str, int], list[IPAddress]]


class OriginError(Exception):
    """The origin did not deliver; the message may be shown to the caller."""


class BusyError(OriginError):
    """It may deliver later: after `retry_after_s`, where it said so."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


FAULTS = (OriginError, OSError, h11.RemoteProtocolError)
"""All that an exchange may raise except for the guard's refusal; `describe` words each for callers."""


def describe(fault: Exception, peer: str, limit_s: float) -> str:
    """One of `FAULTS` in words for the caller; `peer` is the caller's word for the other side."""
    match fault:
        case OriginError():
            return str(fault)
        case TimeoutError():
            return f"it took longer than {limit_s:g} s"
        case ssl.SSLError():
            return "no trusted TLS connection could be made"
        case h11.RemoteProtocolError():
            return f"the {peer} broke the HTTP protocol"
        case _:
            return f"the {peer} could not be reached"


class Allowance:
    """The time and bytes left for all exchanges together; threads that fetch for the same job share one.

    Between two looks at it at most half of the time is counted: however long this process is paused, the
    origin loses at most one half. While a thread waits for a place, nothing is counted; all such waits
    together take at most half as long. Setting `cancel` uses it up at once.
    """

    def __init__(self, limit_s: float, max_bytes: int, cancel: threading.Event, caller: str = "") -> None:
        self._half_s, self._left_s, self._waits_s = limit_s / 2, limit_s, limit_s / 2
        self._counted_at = time.monotonic()
        self.caller, self._waiting, self._places = caller, 0, Counter[Hashable]()
        self._max_bytes = self._left_bytes = max_bytes
        self._cancel = cancel
        self._lock = threading.Lock()

    def remaining_s(self) -> float:
        """Seconds left. Raises TimeoutError if there are none."""
        with self._lock:
            self._count_time()
            remaining_s = self._left_s
        if remaining_s <= 0 or self._cancel.is_set():
            raise TimeoutError
        return remaining_s

    def wait_s(self) -> float:
        """Seconds to wait before the next look, for waits that can be repeated. Raises TimeoutError."""
        return min(self.remaining_s(), self._half_s, LOOK_S)

    def count_bytes(self, count: int) -> None:
        """Count received bytes. Raises OriginError if they are too many."""
        with self._lock:
            self._left_bytes -= count
            if self._left_bytes < 0:
                raise OriginError(
                    f"what is fetched for the request is larger than {self._max_bytes} bytes together"
                )

    @contextmanager
    def place(self, places: KeyedFairSemaphore, key: Hashable) -> Iterator[None]:
        """One of `places`, for the block. Raises TimeoutError; Unavailable `queue_full` if none gets free."""
        with ExitStack() as stack:
            remaining_s, own = self.remaining_s(), self._places[key] > 0
            # While it waits for places that the job itself holds, the time counts.
            with nullcontext(remaining_s) if own else self._paused() as limit_s:
                try:
                    stack.enter_context(places.reserve(key, self.caller, limit_s))
                except TimeoutError:
                    # Where others hold some, this job is not to blame.
                    if own and places.count(key) <= self._places[key]:
                        raise
                    raise Unavailable("queue_full", "Too much is fetched at once.") from None
            self._count_place(key, 1)
            stack.callback(self._count_place, key, -1)
            yield

    def _count_place(self, key: Hashable, count: int) -> None:
        with self._lock:
            self._places[key] += count

    @contextmanager
    def _paused(self) -> Iterator[float]:
        """Seconds that may be spent waiting for places; the origin's time does not run in the block."""
        with self._lock:
            self._count_time()
            self._waiting += 1
            limit_s = self._waits_s
        try:
            yield limit_s
        finally:
            with self._lock:
                self._count_time()
                self._waiting -= 1

    def _count_time(self) -> None:
        """Count the time since the last look; call it with the lock held."""
        now = time.monotonic()
        passed, self._counted_at = now - self._counted_at, now
        if self._waiting:
            self._waits_s -= passed
        else:
            self._left_s -= min(passed, self._half_s)


def resolve(host: str, port: int) -> list[IPAddress]:
    """All addresses of a name, as the system resolves it. Raises OSError."""
    results = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A scope id (fe80::1%eth0) is dropped: such an address is refused anyway.
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in results]


def connect(
    target: Target, reach: AddressRules, resolver: Resolver, allowance: Allowance, param: str | None
) -> socket.socket:
    """A connection to a checked address of `target`, TLS included.

    Raises CallerError `invalid_image_url` if the guard refuses, OriginError, OSError.
    """
    addresses = [target.address] if target.address else _resolve(target, resolver, allowance)
    # One bad address is enough: a name that mixes them is a rebinding attempt, not an honest host.
    if not all(may_connect(ip, target.host, reach) for ip in addresses):
        message = f"The URL's host has an address that is not public{exemption(*addresses)}."
        raise CallerError("invalid_image_url", message, param=param)
    return _connect(target, addresses, allowance)


def exchange(
    connection: socket.socket, request: Sequence[h11.Event], allowance: Allowance
) -> tuple[h11.Connection, h11.Response]:
    """Send `request`, read the answer's head; `body` reads on. Raises `FAULTS`."""
    http = h11.Connection(h11.CLIENT)
    head_and_body = b"".join(http.send(event) or b"" for event in request)
    connection.settimeout(allowance.remaining_s())
    connection.sendall(head_and_body)
    return http, _head(http, connection, allowance)


def body(http: h11.Connection, connection: socket.socket, allowance: Allowance) -> Iterator[bytes]:
    """The answer's body as it comes, counted. Raises `FAULTS`."""
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            http.receive_data(receive(connection, allowance))
        elif isinstance(event, h11.Data):
            allowance.count_bytes(len(event.data))
            yield event.data


def _head(http: h11.Connection, connection: socket.socket, allowance: Allowance) -> h11.Response:
    """The final response's head; informational ones are skipped, but count against the limit on heads."""
    received = 0
    while True:
        event = http.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            chunk = receive(connection, allowance)
            received += len(chunk)
            if received > HEAD_LIMIT:
                raise OriginError("the origin's headers do not end")
            http.receive_data(chunk)


def receive(connection: socket.socket, allowance: Allowance) -> bytes:
    """Raises TimeoutError, OSError."""
    while True:
        connection.settimeout(allowance.wait_s())
        with suppress(TimeoutError):
            return connection.recv(CHUNK)


def header(response: h11.Response, name: bytes) -> str:
    """All lines of a header, joined into one (RFC 9110, section 5.3); "" if there is none."""
    values = [value for key, value in response.headers if key == name]
    return b", ".join(values).decode("utf-8", "replace").strip()


def retry_after_s(response: h11.Response) -> float | None:
    """What the other side asks for: a number or a date (RFC 9110, section 10.2.3); None if it is neither."""
    text = header(response, b"retry-after")
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_DELAY_S)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    remaining = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(remaining.total_seconds(), 0.0), LONGEST_DELAY_S)


def _resolve(target: Target, resolver: Resolver, allowance: Allowance) -> list[IPAddress]:
    """Resolve in a thread of its own, because getaddrinfo has no time limit and may outlive this call."""
    addresses: list[IPAddress] = []
    errors: list[OSError | UnicodeError] = []

    def resolve() -> None:
        try:
            addresses.extend(dict.fromkeys(resolver(target.host, target.port)))
        except (OSError, UnicodeError) as error:
            errors.append(error)

    thread = threading.Thread(target=resolve, name="resolve", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(allowance.wait_s())
    if errors or not addresses:
        raise OriginError("its host name has no address")
    return addresses


def _connect(target: Target, addresses: list[IPAddress], allowance: Allowance) -> socket.socket:
    """A connection to the first address that takes it, TLS included. Raises OSError."""
    for rest, ip in zip(range(len(addresses), 0, -1), addresses, strict=True):
        try:
            connection = socket.create_connection(
                (str(ip), target.port), timeout=allowance.remaining_s() / rest
            )
            break
        except OSError as error:
            if rest == 1:
                # Nor may another that was tried for all the time be taken for one that is slow to answer.
                raise BusyError("it could not be reached") from error
    if target.scheme == "http":
        return connection
    try:
        connection.settimeout(allowance.remaining_s())
        return _tls().wrap_socket(connection, server_hostname=target.host)
    except OSError:
        connection.close()
        raise


@cache
def _tls() -> ssl.SSLContext:
    context, paths = ssl.create_default_context(), ssl.get_default_verify_paths()
    # Python of python.org comes to macOS without certificates.
    if not paths.cafile and not (paths.capath and any(Path(paths.capath).iterdir())):
        context.load_verify_locations(certifi.where())
    return context
