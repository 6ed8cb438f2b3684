"""Whatever body a stranger sends to whichever door, it is answered in time with what is wrong with it."""

import base64
import json
import random
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import pytest

from tests.safety.answers import LIMIT_S, Stranger
from tests.safety.bodies import Door, Sent, doors, sent
from tests.safety.conftest import ECHO, UNSERVED
from tests.safety.forms import forms
from tests.safety.heads import heads
from tests.safety.wires import Wire, large, met, slow
from tests.support.pictures import png, png_chunk
from tests.support.service import Service

T = TypeVar("T")
AT_ONCE = 4
WAITING_S = 3.0
SHARED = 3
"""Of so many doors one is sent a body that is none: what reads it is the same behind all of them."""
JSON = {"content-type": "application/json"}
CHAT = "/v1/chat/completions"
FILES = "/v1/files"


@pytest.fixture(scope="module")
def every_door(stranger: Stranger) -> list[Door]:
    listed = doors(stranger.get("/openapi.json").json(), ECHO)
    assert len(listed) >= 10
    return listed


def all_wrong(look: Callable[[T], str | None], things: Iterable[T], at_once: int = AT_ONCE) -> list[str]:
    """What was answered that should not have been."""

    def looked(thing: T) -> str | None:
        try:
            return look(thing)
        except Exception as error:
            return f"{thing!r:.200}: {error!r:.500}"

    with ThreadPoolExecutor(at_once) as threads:
        return [wrong for wrong in threads.map(looked, things) if wrong]


def test_what_is_no_body_is_refused_at_every_door(
    stranger: Stranger, every_door: list[Door], whole: bool
) -> None:
    # The doors take turns, each with one body of so many.
    step = 1 if whole else SHARED
    pairs = [
        (door, one)
        for number, one in enumerate(sent())
        for door in (every_door[:1] if one.large else every_door[number % step :: step])
    ]
    assert len(pairs) >= 200

    def look(pair: tuple[Door, Sent]) -> None:
        door, one = pair
        stranger.ask(door.method, door.path, content=one.body, headers={"content-type": one.kind})

    assert all_wrong(look, pairs) == []


def test_a_form_that_is_none_is_refused_where_files_are_uploaded(stranger: Stranger) -> None:
    def look(one: Sent) -> None:
        stranger.ask("POST", FILES, content=one.body, headers={"content-type": one.kind.encode("latin-1")})

    assert all_wrong(look, forms()) == []


def test_whatever_comes_on_a_connection_is_answered(service: Service) -> None:
    def look(wire: Wire) -> str | None:
        answer = met(service.url(), wire)
        return None if answer.status in wire.statuses else f"{wire.name}: {answer.status} {answer.text[:200]}"

    assert all_wrong(look, (*slow(), *large(), *heads()), 16) == []


def test_many_large_bodies_at_once_take_no_more_memory_than_few(stranger: Stranger) -> None:
    large = b'{"inputs": "' + b"a" * 24_000_000 + b'"}'

    def look(_: int) -> str | None:
        answer = stranger.ask(
            "POST", f"/models/{ECHO}", content=large, headers={"content-type": "application/json"}
        )
        return None if answer.code in ("context_length_exceeded", "queue_full") else answer.text

    assert all_wrong(look, range(8), 8) == []


def test_who_waits_for_an_answer_keeps_no_pictures_in_memory(service: Service) -> None:
    """Seen in the memory that the service takes, when all is over."""
    url = f"{service.url()}/models/{UNSERVED}"
    noise = png_chunk(b"juNk", random.Random(1).randbytes(12_000_000))
    image = base64.b64encode(png((8, 8), bytes(200), extra=(noise,))).decode()
    body = json.dumps({"inputs": {"image": image, "text": "?"}, "options": {"wait_for_model": True}}).encode()

    limits, end = httpx.Timeout(LIMIT_S, read=WAITING_S), time.monotonic() + LIMIT_S

    def wait(_: int) -> str | None:
        """Until it is let in: on a busy machine those before keep the room for bodies for longer than it waits."""
        while True:
            try:
                reply = httpx.post(url, content=body, headers=JSON, timeout=limits)
            except httpx.ReadTimeout:
                return None
            if time.monotonic() > end or '"queue_full"' not in reply.text:
                return reply.text

    assert all_wrong(wait, range(24), 24) == []


def test_who_only_holds_connections_holds_up_nobody(service: Service, stranger: Stranger) -> None:
    url = urlsplit(service.url())
    with ExitStack() as stack:
        for _ in range(200):
            connection = stack.enter_context(socket.create_connection((url.hostname, url.port), LIMIT_S))
            connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{")
        assert stranger.ask("POST", f"/models/{ECHO}", json={"inputs": "hello"}).status == 200
