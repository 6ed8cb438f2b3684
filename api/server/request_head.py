"""Checks a request's head (target and headers): what is wrong, what is ignored, how it is refused."""

import re
from collections.abc import Iterable

from httptools import HttpParserInvalidURLError, parse_url
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.server.errors import render
from api.server.reply import GUARDS, request_id_of
from shared.errors import CallerError, ServiceError

HEAD_LIMIT = 64 * 2**10
OFFER = frozenset((b"upgrade", b"http2-settings"))
"""Headers that offer to switch to another protocol; `Connection` names them too."""
_ABSOLUTE = re.compile(rb"([^/?#:]+://([^/?#]+))/?(.*)")
"""A target with a host, which replaces the Host header (RFC 9112, section 3.2.2). Without a path it means
`/`, which uvicorn misses."""

Headers = list[tuple[bytes, bytes]]


def fault_of(version: str, url: bytes, headers: Headers) -> CallerError | None:
    """Why a head is refused, whatever its path: `headers_too_large`, `invalid_request`.

    The headers' names are in lower case. Two Host headers are refused because a proxy in front may have
    gone by the other one (RFC 9112, section 3.2).
    """
    if len(url) + sum(len(name) + len(value) for name, value in headers) > HEAD_LIMIT:
        return too_large()
    if version not in ("1.0", "1.1"):
        return CallerError("invalid_request", f"This is HTTP/{version}; send HTTP/1.1.")
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (not hosts and version == "1.1"):
        return CallerError("invalid_request", f"A request names its Host once; this one has {hosts}.")
    return None


def too_large() -> CallerError:
    return CallerError("headers_too_large", f"The request's head is larger than {HEAD_LIMIT // 1024} KiB.")


def has_body(headers: Headers) -> bool:
    """Whether a body is announced; its sender may hold the connection until somebody reads it."""
    said = dict(headers)
    return b"transfer-encoding" in said or said.get(b"content-length", b"0").strip().strip(b"0") != b""


def with_its_host(url: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Target and headers; a host in the target replaces the Host header."""
    absolute = _ABSOLUTE.fullmatch(url)
    if absolute is None:
        return url, headers
    host = absolute[2].rpartition(b"@")[2]
    others = [(name, value) for name, value in headers if name != b"host"]
    return b"%s/%s" % (absolute[1], absolute[3]), [(b"host", host), *others]


def without_offer(headers: Headers) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"connection":
            words = (word.strip() for word in value.split(b","))
            yield name, b", ".join(word for word in words if word.lower() not in OFFER)
        elif name not in OFFER:
            yield name, value


def refusal(error: ServiceError, url: bytes, headers: Headers) -> bytes:
    """The raw answer to a request refused by its head, counted here: the middleware never sees it."""
    request_id = request_id_of(headers)
    response = render(error, path_of(url), request_id)
    own = ((b"x-request-id", request_id.encode("ascii")), *GUARDS, (b"connection", b"close"))
    lines = b"".join(b"%s: %s\r\n" % line for line in (*response.raw_headers, *own))
    return STATUS_LINE[error.status] + lines + b"\r\n" + bytes(response.body)


def without_slash(path: str) -> str:
    """The path without one slash at its end, which carries no meaning: clients join URLs carelessly."""
    return path[:-1] if path.endswith("/") and path != "/" else path


def path_of(target: bytes) -> str:
    """The target's path, empty where it cannot be parsed; a proxy's target names the origin before it."""
    try:
        return (parse_url(target).path or b"/").decode("latin-1")
    except HttpParserInvalidURLError:
        return ""
