"""Fetches one remote file of a request: guarded, bounded in time and bytes, in one try."""

import socket
from collections.abc import Sequence
from urllib.parse import urljoin

import h11

from shared.errors import CallerError
from shared.media.kinds import Kind
from shared.media.pictures import PICTURE
from shared.settings import FetchSettings
from shared.url_guard import AddressRules, Target, check_url
from worker.fair_semaphore import KeyedFairSemaphore
from worker.fetching import guarded_http
from worker.fetching.guarded_http import Allowance, BusyError, OriginError, Resolver, header

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PARTIAL = 206
BUSY = frozenset({429, 500, 502, 503, 504})
CODINGS = frozenset({"br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"})
"""Codings that change a file's bytes. Origins send other values, too (`identity`, `UTF-8`), that do not."""
HOSTS = KeyedFairSemaphore(9)
"""Limits this process's fetches from one host: it is not flooded, and a slow one does not delay all."""


class FetchError(CallerError):
    """The origin does not deliver; `busy` where it may do so later. `rest` is a request, where it holds what
    others delivered.
    """

    rest = ""

    def __init__(self, kind: Kind, reason: str, param: str | None, busy: BusyError | None = None) -> None:
        super().__init__("fetch_failed", f"The {kind.noun} could not be fetched: {reason}.", param=param)
        self.busy = busy


def fetch(
    url: str,
    settings: FetchSettings,
    max_bytes: int,
    param: str | None,
    allowance: Allowance,
    resolver: Resolver = guarded_http.resolve,
    kind: Kind = PICTURE,
) -> bytes:
    """The bytes at `url`, redirects followed, each checked as the first URL was.

    Raises CallerError `invalid_image_url` if the guard refuses, FetchError for any failure of the
    origin, slowness included; Unavailable `queue_full` if other fetches leave no place for this one. Takes no
    longer than the allowance permits.
    """
    try:
        for redirects in range(settings.max_redirects + 1):
            target = _target(url, settings.reach, param, redirected=redirects > 0)
            with (
                allowance.place(HOSTS, target.host),
                guarded_http.connect(target, settings.reach, resolver, allowance, param) as connection,
            ):
                request = _request(target, kind.media_types, settings.user_agent)
                response = _exchange(connection, request, max_bytes, allowance)
            if isinstance(response, bytes):
                return response
            url = _redirected(url, response)
        raise OriginError(f"the URL redirects more than {settings.max_redirects} times")
    except guarded_http.FAULTS as fault:
        reason = guarded_http.describe(fault, "origin", settings.limit_s)
        broke_off = isinstance(fault, ConnectionError | h11.RemoteProtocolError)
        busy = fault if isinstance(fault, BusyError) else BusyError(reason) if broke_off else None
        raise FetchError(kind, reason, param, busy) from None


def _exchange(
    connection: socket.socket, request: Sequence[h11.Event], max_bytes: int, allowance: Allowance
) -> bytes | str:
    """The body, or where a redirect leads."""
    http, response = guarded_http.exchange(connection, request, allowance)
    if response.status_code in REDIRECTS:
        return header(response, b"location")
    if response.status_code in BUSY:
        reason = f"the origin answered with status {response.status_code}"
        raise BusyError(reason, guarded_http.retry_after_s(response))
    if not 200 <= response.status_code < 300 or response.status_code == PARTIAL:
        raise OriginError(f"the origin answered with status {response.status_code}")
    codings = header(response, b"content-encoding").lower().split(",")
    if not CODINGS.isdisjoint(coding.strip() for coding in codings):
        raise OriginError("the origin sent a content coding nobody asked for")
    length = header(response, b"content-length")
    if length and int(length) > max_bytes:
        raise _too_large(max_bytes)
    return _read_body(http, connection, max_bytes, allowance)


def _request(target: Target, accepts: str, user_agent: str) -> Sequence[h11.Event]:
    headers = [
        ("Host", target.authority),
        ("User-Agent", user_agent),
        ("Accept", f"{accepts}, */*;q=0.1"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    return [h11.Request(method="GET", target=target.path, headers=headers), h11.EndOfMessage()]


def _read_body(http: h11.Connection, connection: socket.socket, limit: int, allowance: Allowance) -> bytes:
    content = bytearray()
    for data in guarded_http.body(http, connection, allowance):
        content += data
        if len(content) > limit:
            raise _too_large(limit)
    return bytes(content)


def _target(url: str, reach: AddressRules, param: str | None, *, redirected: bool) -> Target:
    """As `check_url`; for a redirect the error says so, because the caller wrote another URL."""
    try:
        return check_url(url, reach, param)
    except CallerError as refused:
        if not redirected:
            raise
        message = f"The URL redirects to another, which is refused: {refused.message}"
        raise CallerError(refused.code, message, param=param) from None


def _redirected(url: str, location: str) -> str:
    if not location:
        raise OriginError("it redirects to nowhere")
    try:
        return urljoin(url, location)
    except ValueError:
        raise OriginError("it redirects to something that is no URL") from None


def _too_large(max_bytes: int) -> OriginError:
    return OriginError(f"it is larger than {max_bytes} bytes")
