"""A service with much to do: callers of every kind, a worker that dies, receivers that refuse."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

from tests.e2e.conftest import ECHO, SLOW, TINY
from tests.support.batches import ENDPOINT, jsonl, line
from tests.support.circle_questions import BLUE, GREEN, RED, chat, circle
from tests.support.clients import Api, until
from tests.support.pictures import answering, origin, picture
from tests.support.receiver import Receiver, receiver
from tests.support.service import Service

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSBjYWxsZXIgaXRzZWxm"
CLASSES = ("batch", "normal", "interactive", "normal")


@contextmanager
def elsewhere() -> Iterator[tuple[Receiver, str]]:
    """A receiver of webhooks, and the address of a picture."""
    data = picture()
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data)
    with receiver() as there, origin(answering(head + data)) as served:
        yield there, served.url


def one_round(service: Service, api: Api, there: Receiver, remote: str, number: int) -> None:
    """Runs until only the batch class is left of the line it begins with, some ten seconds later."""
    first, *waiting = line_up(api, f"round {number}", 9)
    api.running(first)
    api.post(f"/v1/jobs/{first}/cancel")
    api.submit(model=TINY, input={"prompt": f"round {number} " + "too long " * 4000})
    be_refused(api)
    begin_batch(api, number)
    ask_twice(api, there, remote, number)
    ask_about_circles(api, number)
    service.kill(SLOW)
    service.ready(SLOW)
    ask_about_circles(api, number)
    for job in waiting:
        if api.job(job)["priority"] != "batch":
            api.ended(job)


def line_up(api: Api, about: str, count: int) -> list[str]:
    """Jobs of all classes, more than a row can do for a while; one joins, one leaves, one comes too late.

    The first takes so long that it is surely seen while it runs.
    """
    prompts = [f"{about} {at} {'word ' * (at % 5 + 8)}" for at in range(count)]
    prompts[0] += "word " * 100
    jobs = [
        api.submit(model=SLOW, input={"prompt": prompt}, priority=kind)
        for prompt, kind in zip(prompts, cycle(CLASSES), strict=False)
    ]
    jobs.append(api.submit(model=SLOW, input={"prompt": prompts[1]}))
    jobs.append(until(lambda: in_vain(api, about)))
    api.post(f"/v1/jobs/{jobs[5]}/cancel")
    return jobs


def in_vain(api: Api, about: str) -> str:
    """A job that will be too late in line; "" where a machine that stood still made it late on its way."""
    body = {"model": SLOW, "input": {"prompt": f"{about}, in vain"}, "priority": "batch"}
    reply = api.post("/v1/jobs", json=body | {"finish_by": time.time() + 4})
    return str(reply.json()["id"]) if reply.status_code == 202 else ""


def begin_batch(api: Api, number: int) -> None:
    lines: list[dict[str, object] | str] = [
        line(f"{at}", f"line {number} {at}", model=ECHO) for at in range(12)
    ]
    upload = {"files": {"file": jsonl([*lines, "this is no JSON"])}, "data": {"purpose": "batch"}}
    file = api.post("/v1/files", **upload).json()["id"]  # type: ignore[arg-type]
    body = {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": "24h"}
    assert api.post("/v1/batches", json=body).status_code == 200


def ask_about_circles(api: Api, number: int) -> None:
    """Two questions about each picture, so that the engine knows the second one's beginning."""
    for colour in (RED, GREEN, BLUE):
        for question in ("What color is the circle?", "How many circles are there?"):
            body = {"model": TINY, "messages": chat(circle(colour, 30 + number), question), "stream": True}
            with api.stream("POST", "/v1/chat/completions", json=body) as reply:
                assert reply.status_code == 200
                reply.read()


def ask_twice(api: Api, there: Receiver, remote: str, number: int) -> None:
    """The cache answers the second time, unless told not to; some ends go to receivers that may refuse."""
    there.answers += [(status, {}) for status in (500, 204, 410, 500, 500, 500)]
    for at in range(6):
        for headers in ({}, {}, {"x-use-cache": "false"}):
            body = {"model": ECHO, "input": {"prompt": f"round {number}, question {at}"}}
            if not headers:
                body["webhook"] = {"url": there.url, "secret": SECRET}
            job = api.post("/v1/jobs", json=body, headers=headers).json()["id"]
            api.ended(job)
    for at in range(4):
        api.ended(api.submit(model=ECHO, input={"prompt": f"seen {number} {at}", "image": remote}))


def be_refused(api: Api) -> None:
    asked: Sequence[dict[str, object]] = (
        {"content": b"{"},
        {"json": {"model": "nobody/none", "input": {"prompt": "?"}}},
        {"json": {"model": ECHO, "input": {"prompt": "?"}, "parameters": {"temperature": 1000}}},
    )
    for given in asked:
        assert api.post("/v1/jobs", **given).is_client_error  # type: ignore[arg-type]
    assert api.get("/v1/jobs/job_0").status_code == 404
