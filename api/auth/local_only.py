"""Without API keys: checks that a request comes from this machine, and not from a web page in a browser here.

A browser calls from this machine's address, whoever wrote the page. A page cannot forge `Host`, which is the
page's own name even where that name was pointed at this machine (DNS rebinding), `Origin`, or
`Sec-Fetch-Site`, which browsers also send for what a page embeds. Other clients send neither of the last two.
"""

import ipaddress
import re
from collections.abc import Container, Mapping
from functools import lru_cache

from starlette.types import Scope

from shared.errors import CallerError

# A request that a proxy on this machine forwards comes from elsewhere; each kind leaves its own trace.
_FORWARDED = (b"x-forwarded-", b"x-original-")
_FORWARDED_NAMES = frozenset(
    (
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-envoy-external-address",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"fastly-client-ip",
    )
)
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::\d*)?")
_OTHER_PAGES = (b"cross-site", b"same-site")


def check_local(scope: Scope, origins: Container[str]) -> None:
    """`origins` are those of web pages that may call.

    Raises CallerError `local_only`, `foreign_host`, `foreign_origin`.
    """
    # Where a header comes twice only one is checked: browsers send each of these once.
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    if not _is_here(scope, headers):
        message = (
            "This service has no API keys and answers its own machine only. Set SIGHTLINE_API__ADMIN_KEY "
            "to turn keys on, or SIGHTLINE_API__OPEN=true to answer everybody."
        )
        raise CallerError("local_only", message)
    host = headers.get(b"host")
    if host is not None and not is_loopback_host(host):
        message = "Without API keys this service is called as localhost or 127.0.0.1, not by another name."
        raise CallerError("foreign_host", message)
    if _is_foreign_page(headers, f"{scope['scheme']}://".encode() + (host or b""), origins):
        raise _foreign_origin()


def check_page(scope: Scope, origins: Container[str]) -> None:
    """For a service that answers everybody: a page of another origin acts for whoever looks at it.

    Behind a proxy our own page has another scheme, and may have another host, than this request: what the
    browser says of them comes first. It says nothing over plain HTTP. Raises CallerError `foreign_origin`.
    """
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
    if origin is None or "*" in origins or origin.decode("latin-1").lower() in origins:
        return
    other_host = origin.rpartition(b"://")[2].lower() != headers.get(b"host", b"").lower()
    if site in _OTHER_PAGES or (site is None and other_host):
        raise _foreign_origin()


def _foreign_origin() -> CallerError:
    message = "Without API keys a web page may call only where SIGHTLINE_API__CORS_ORIGINS names it."
    return CallerError("foreign_origin", message)


@lru_cache(256)
def is_loopback_host(host: bytes) -> bool:
    """Whether a `Host` can only mean this machine; browsers never look `localhost` up by DNS."""
    parts = _HOST.fullmatch(host.decode("latin-1").lower())
    name = parts[1].strip("[]") if parts else ""
    return name.removesuffix(".") == "localhost" or _is_loopback(name)


def _is_here(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    forwarded = any(name in _FORWARDED_NAMES or name.startswith(_FORWARDED) for name in headers)
    return scope.get("client") is not None and not forwarded and _is_loopback(scope["client"][0])


@lru_cache(256)
def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_foreign_page(headers: Mapping[bytes, bytes], own: bytes, origins: Container[str]) -> bool:
    origin = headers.get(b"origin")
    if origin is not None:
        return origin.lower() != own.lower() and origin.decode("latin-1").lower() not in origins
    # The answer to a link that was followed is shown to the person, not to the page that linked.
    followed = headers.get(b"sec-fetch-mode") == b"navigate"
    return headers.get(b"sec-fetch-site") in _OTHER_PAGES and not followed
