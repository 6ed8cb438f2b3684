"""Fetching one thing as the courier does, from an origin of the test's own."""

import threading
from ipaddress import ip_address

import pytest

from shared.errors import CallerError
from shared.settings import FetchSettings
from shared.url_guard import IPAddress
from tests.support.patience import PATIENCE_S
from tests.support.pictures import Origin
from worker.fetching import guarded_http
from worker.fetching.fetch import fetch
from worker.fetching.guarded_http import Allowance

LOOPBACK = FetchSettings(allow=("127.0.0.1",), limit_s=PATIENCE_S)
LIMIT = 100_000
OK = b"HTTP/1.1 200 OK\r\n"


def alone(settings: FetchSettings) -> Allowance:
    return Allowance(settings.limit_s, LIMIT, threading.Event())


def fetched(server: Origin, settings: FetchSettings = LOOPBACK) -> bytes:
    return fetch(server.url, settings, LIMIT, "image", alone(settings))


def refused(url: str, settings: FetchSettings = LOOPBACK, **options: object) -> CallerError:
    with pytest.raises(CallerError) as caught:
        fetch(url, settings, LIMIT, "image", alone(settings), **options)  # type: ignore[arg-type]
    assert caught.value.param == "image"
    return caught.value


def resolving_to(*addresses: str, calls: list[str] | None = None) -> guarded_http.Resolver:
    def resolver(host: str, port: int) -> list[IPAddress]:
        if calls is not None:
            calls.append(f"{host}:{port}")
        return [ip_address(address) for address in addresses]

    return resolver
