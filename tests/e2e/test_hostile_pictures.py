"""Small requests that want gigabytes or minutes are refused, or served in bounded memory."""

import base64
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.e2e.conftest import ECHO, TINY
from tests.support.clients import Api
from tests.support.pictures import picture
from tests.support.processes import Process
from tests.support.service import Service

SQUARED = 40_000, 800
"""Padded to a square, these few kilobytes are 4.8 GB."""
LONGEST = 8000, 160
"""The longest that is let in: 192 MB as a square."""


def encoded(image: bytes) -> str:
    return base64.b64encode(image).decode()


def resident_mb(process: Process) -> float:
    return float(psutil.Process(process.pid).memory_info().rss / 2**20)


def test_pictures_that_explode_are_answered_in_bounded_memory(service: Service, api: Api) -> None:
    sizes = [LONGEST, LONGEST[::-1], (7800, 5000), SQUARED]
    bodies = [{"inputs": {"image": encoded(picture("PNG", s, "1")), "text": "q"}} for s in sizes]
    before = resident_mb(service.processes[TINY])
    with ThreadPoolExecutor(4) as threads:
        replies = list(threads.map(lambda body: api.post(f"/models/{TINY}", json=body), bodies))
    assert [reply.status_code for reply in replies] == [200] * 4, [reply.text for reply in replies]
    assert resident_mb(service.processes[TINY]) - before < 1000


LARGE = {
    "escapes": b'{"inputs":{"image":"data:image/png;base64,' + b"%41" * 4_000_000 + b'"}}',
    "strings": b'{"inputs":[' + b'"",' * 4_000_000 + b'""]}',
    "parentheses": b'{"inputs":"![](' + b"a()" * 4_000_000 + b'"}',
    "markdown pictures": b'{"inputs":"' + b"![](http://example.com/a)" * 400_000 + b'"}',
    "text": b'{"inputs":"' + b"a" * 12_000_000 + b'"}',
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_body_of_nothing_costs_the_service_little(service: Service, api: Api, name: str) -> None:
    before = resident_mb(service.processes["api"])
    reply = api.post(f"/models/{ECHO}", content=LARGE[name], headers={"content-type": "application/json"})
    assert 400 <= reply.status_code < 500, reply.text
    assert len(reply.content) < 1000
    assert resident_mb(service.processes["api"]) - before < 300


def test_a_long_question_never_reaches_the_model(api: Api) -> None:
    body = {"model": TINY, "messages": [{"role": "user", "content": "x " * 1_000_000}]}
    reply = api.post("/v1/chat/completions", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    assert "x-job-id" not in reply.headers


def test_a_picture_without_a_question_is_asked_the_same_by_every_door(api: Api) -> None:
    data = "data:image/png;base64," + encoded(picture("PNG", (64, 48)))
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data}}]}]
    first = api.post(f"/models/{ECHO}", json={"inputs": data})
    chat = api.post("/v1/chat/completions", json={"model": ECHO, "messages": messages})
    job = api.post("/v1/jobs", json={"model": ECHO, "messages": messages})
    markdown = api.post(f"/models/{ECHO}", json={"inputs": f"![]({data})"})
    assert first.status_code == 200
    assert [reply.headers["x-cache"] for reply in (chat, job, markdown)] == ["HIT"] * 3
