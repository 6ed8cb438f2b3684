"""The release before and this one take turns on one store, under load: what was accepted is answered once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import httpx
import pytest
from pydantic_core import from_json

from tests.support.clients import Api, sent_events, until
from tests.support.former_release import former_release
from tests.support.patience import PATIENCE_S
from tests.support.receiver import receiver
from tests.support.service import COURIER, Service, ending, running_service

ECHO = "test/echo"
NAMES = ("api", COURIER, ECHO)
MODELS = f"""
[[models]]
id = "{ECHO}"
engine = "echo"
rows = 4
options = {{ step_s = 0.02 }}
"""
ENV = {
    "SIGHTLINE_QUEUE__LEASE_S": "5",
    "SIGHTLINE_QUEUE__RENEW_S": "0.5",
    "SIGHTLINE_QUEUE__RESCUE_S": "0.2",
    "SIGHTLINE_QUEUE__DRAIN_S": "1",
    "SIGHTLINE_FETCH__ALLOW": "127.0.0.1",
    "SIGHTLINE_WEBHOOK__DELAYS_S": "0.2,0.2",
    "SIGHTLINE_WEBHOOK__SECRET": "a secret of sixteen bytes",
}
PAUSE_S = 0.1


class Load:
    """Callers who ask again, elsewhere, until they are answered: jobs and streams by their question."""

    def __init__(self, hook: str) -> None:
        self.urls: list[str] = []
        self.jobs: dict[str, str] = {}
        self.streamed: dict[str, str] = {}
        self._hook = hook
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._submit, self._stream)]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join(PATIENCE_S)

    def grown(self, more: int = 5) -> None:
        """So many more jobs were accepted."""
        before = len(self.jobs)
        until(lambda: len(self.jobs) >= before + more)

    def call(self, method: str, path: str, **said: Any) -> dict[str, Any]:
        for attempt in count():
            url = self.urls[attempt % len(self.urls)]
            with suppress(httpx.TransportError), httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
                reply = client.request(method, path, **said)
                if reply.status_code < 500:
                    assert reply.status_code in (200, 202), reply.text
                    return dict(reply.json())
            threading.Event().wait(PAUSE_S)
        raise AssertionError

    def _submit(self) -> None:
        for number in count():
            if self._stopping.wait(PAUSE_S):
                return
            question = " ".join(f"job-{number}-{word}" for word in range(number % 12 + 1))
            body = {"model": ECHO, "input": {"prompt": question}, "webhook": {"url": self._hook}}
            job = self.call("POST", "/v1/jobs", json=body, headers={"idempotency-key": str(number)})
            self.jobs[question] = job["id"]

    def _stream(self) -> None:
        for number in count():
            if self._stopping.is_set():
                return
            question = " ".join(f"stream-{number}-{word}" for word in range(40))
            job = self.call("POST", "/v1/jobs", json={"model": ECHO, "input": {"prompt": question}})["id"]
            self.streamed[question] = self._read(job)

    def _read(self, job: str) -> str:
        """A job's text, or the code of the error with which its stream ended."""
        text, last = "", 0
        for attempt in count():
            url = self.urls[attempt % len(self.urls)]
            with suppress(httpx.TransportError), Api(url) as api:
                headers = {"last-event-id": str(last)} if last else {}
                with api.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as reply:
                    if reply.is_client_error:
                        return str(from_json(reply.read())["code"])
                    for event in sent_events(reply.iter_lines()):
                        last = event.id
                        if event.name == "text":
                            assert event.data["start"] == len(text)
                            text += event.data["text"]
                        elif event.name == "succeeded":
                            return text
                        elif event.name == "failed":
                            return str(event.data["code"])
            threading.Event().wait(PAUSE_S)
        raise AssertionError


def stop(service: Service, *names: str, between: Callable[[], None] = lambda: None) -> None:
    """Its processes end one by one."""
    for name in names:
        service.processes[name].terminate()
        service.processes[name].wait()
        between()


def take_turns(first: Service, then: Service, load: Load) -> None:
    """One release's processes end while the other's run beside them."""
    then.ready(*NAMES)
    load.urls.append(then.url())
    load.grown()
    load.urls.remove(first.url())
    stop(first, *NAMES, between=load.grown)


def test_an_update_and_the_way_back_lose_no_accepted_job() -> None:
    with former_release() as former, running_service(MODELS, ENV) as new, receiver() as hook:
        if not former.same_layout:
            pytest.skip("the layout of records changed: the two releases never run on one store")
        load = Load(hook.url)
        with ending(Service(former.folder, new.redis, MODELS, ENV, former.folder)) as old:
            old.ready(*NAMES)
            load.urls.append(old.url())
            with load.running():
                load.grown()
                take_turns(old, new, load)
                take_turns(new, old, load)
            jobs = {
                asked: load.call("GET", f"/v1/jobs/{id}", params={"wait": 30})
                for asked, id in load.jobs.items()
            }
            until(lambda: {call.event["data"]["id"] for call in hook.calls} >= set(load.jobs.values()))
    assert {asked: job["result"]["text"] for asked, job in jobs.items()} == {asked: asked for asked in jobs}
    for asked, text in load.streamed.items():
        assert text in (asked, "stream_broken", "stream_rewound")
