"""The command line's HTTP client of a running service; it turns each failure into one sentence."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from shared.settings import CLIENT_KEY, CLIENT_URL
from sightline.exits import CommandError, Exit
from sightline.running_services import running_services

LOCAL = "http://127.0.0.1:8000"
SILENCE_S = 60.0
"""Longest pause between bytes: the service sends a comment line at least every ten seconds."""


def client_of(url: str | None) -> httpx.Client:
    """A client of the service at `url`, else of the one that runs here.

    It sends the key of SIGHTLINE_API_KEY, if any; as an argument all users could see it.

    Raises CommandError.
    """
    url = service_url() if url is None else url
    key = os.environ.get(CLIENT_KEY)
    # A client with its own transport uses no proxy: none leads to this machine.
    direct = httpx.HTTPTransport() if is_loopback(host_of(url)) else None
    timeout = httpx.Timeout(10, read=SILENCE_S)
    try:
        return httpx.Client(base_url=url, timeout=timeout, headers=bearer(key), transport=direct)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        message = f"The proxy that the environment names cannot be used ({error})"
        fix = "correct or unset HTTP_PROXY, HTTPS_PROXY, ALL_PROXY"
        raise CommandError(Exit.USAGE, f"{message}: {fix}.") from None


def service_url() -> str:
    """The address of the service that a command means which names none. Raises CommandError.

    A service that is recorded and does not answer is not passed over for another one.
    """
    services = running_services()
    if len(services) > 1:
        here = str(Path.cwd())
        services = [service for service in services if service.folder == here] or services
    if len(services) > 1:
        names = ", ".join(f"{service.url} (data in {service.data})" for service in services)
        message = f"Several services run here: {names}. Name one with --url or {CLIENT_URL}."
        raise CommandError(Exit.USAGE, message)
    return services[0].url if services else LOCAL


def host_of(url: str) -> str:
    """Raises CommandError."""
    try:
        place = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise CommandError(Exit.USAGE, f"--url {url} (or {CLIENT_URL}) is not a URL: {error}.") from None
    if place.scheme not in ("http", "https") or not place.host:
        raise CommandError(Exit.USAGE, f"--url {url} (or {CLIENT_URL}) is not a URL: write it like {LOCAL}.")
    return place.host


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def bearer(key: str | None) -> dict[str, str]:
    """The header with the key. Raises CommandError for a key that no header can hold."""
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise CommandError(Exit.USAGE, f"{CLIENT_KEY} holds more than visible ASCII characters.")
    return {"authorization": f"Bearer {key}"}


@contextmanager
def speaking(client: httpx.Client) -> Iterator[None]:
    """Raises CommandError in place of httpx's errors."""
    try:
        yield
    except httpx.InvalidURL as error:
        raise CommandError(Exit.USAGE, f"--url {client.base_url} is not a URL: {error}.") from None
    except httpx.TransportError as error:
        raise CommandError(Exit.UNREACHABLE, unreachable(client, error)) from None


def unreachable(client: httpx.Client, error: httpx.TransportError) -> str:
    message = f"No answer from {client.base_url} ({error or type(error).__name__})"
    if "mismatch" in str(error):
        return f"{message}: --url names the host that its certificate is for."
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"{message}: SSL_CERT_FILE names a file with the authority of its certificate."
    if client.base_url.scheme == "http" and "Server disconnected" in str(error):
        return f"{message}: is it running? Where it has a certificate, --url begins with https://."
    return f"{message}: is it running? `sightline run` starts it, --url or {CLIENT_URL} names another."


def fetched(
    client: httpx.Client,
    method: str,
    path: str,
    *,
    body: dict[str, Any] | None = None,
    **params: str | int | Sequence[str] | None,
) -> Any:
    """The JSON body of a call's answer, None where that is empty. Raises CommandError."""
    query = {name: value for name, value in params.items() if value is not None}
    with speaking(client):
        reply = client.request(method, path, params=query, json=body)
    check(reply)
    return parsed(reply) if reply.content else None


def called(url: str | None, method: str, path: str, **call: Any) -> Any:
    """As `fetched`, of a command's only call."""
    with client_of(url) as client:
        return fetched(client, method, path, **call)


def segment(name: str, *, safe: str = "") -> str:
    """A name quoted for a path. Raises CommandError for one that would change the path, such as `..`."""
    quoted = quote(name, safe=safe)
    if not {"", ".", ".."}.isdisjoint(quoted.split("/")):
        raise CommandError(Exit.USAGE, f"{name!r} is no id.")
    return quoted


def passing(reply: httpx.Response) -> bool:
    """Whether a refusal may pass, so that a command that waits goes on waiting."""
    return reply.is_server_error or reply.status_code == httpx.codes.TOO_MANY_REQUESTS


def check(reply: httpx.Response) -> None:
    """Raise CommandError with the service's own words if it refused."""
    if not reply.is_success:
        reply.read()
        message = f"The service refused ({reply.status_code}): {reason(reply.text)}"
        if reply.status_code == httpx.codes.UNAUTHORIZED:
            message += f" This command sends the one in {CLIENT_KEY}."
        if (
            reply.status_code == httpx.codes.TOO_MANY_REQUESTS
            and (s := reply.headers.get("retry-after", "")).isdigit()
        ):
            message += f" Try again in {s} s."
        raise CommandError(Exit.REFUSED, message)


def is_stream(reply: httpx.Response) -> bool:
    kind: str = reply.headers.get("content-type", "")
    return kind.startswith("text/event-stream")


def check_stream(reply: httpx.Response) -> None:
    """As `check`, for an answer that must be a stream."""
    check(reply)
    if not is_stream(reply):
        raise CommandError(Exit.UNREACHABLE, f"{reply.url} did not answer as this service does.")


def reason(body: str) -> str:
    """The message in an error's body, whichever API it follows; else the body's beginning."""
    try:
        parsed = json.loads(body)
        if "detail" in parsed:
            return str(parsed["detail"])
        error = parsed["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError):
        return body[:200] or "no reason given"


def code(body: bytes) -> str | None:
    """The code in an error's body, whichever API it follows; None where it has none."""
    try:
        parsed = json.loads(body)
        error = parsed.get("error", parsed)
        return str(error["code"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def parsed(reply: httpx.Response) -> Any:
    """Raises CommandError where something else listens at the address."""
    try:
        return reply.json()
    except ValueError:
        raise CommandError(Exit.UNREACHABLE, f"{reply.url} did not answer as this service does.") from None
