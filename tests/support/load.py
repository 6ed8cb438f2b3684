"""A caller who submits one job after the other, whatever the service is going through."""

import threading
from contextlib import suppress

import httpx

from tests.support.clients import until

MODEL = "test/echo"
ENOUGH = 20


class Load:
    """`accepted` has each job with its text, which is its Idempotency-Key too."""

    def __init__(self, client: httpx.Client) -> None:
        self.accepted: list[tuple[str, str]] = []
        self._client, self._ended = client, threading.Event()
        self._thread = threading.Thread(target=self._submit)

    def __enter__(self) -> "Load":
        self._thread.start()
        self.more()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def more(self) -> None:
        """Returns once some jobs more are accepted."""
        before = len(self.accepted)
        until(lambda: len(self.accepted) >= before + ENOUGH)

    def _submit(self) -> None:
        number = 0
        while not self._ended.wait(0.02):
            number += 1
            with suppress(httpx.TransportError):
                reply = submit(self._client, f"question {number}")
                if reply.status_code == httpx.codes.ACCEPTED:
                    self.accepted.append((reply.json()["id"], f"question {number}"))


def submit(client: httpx.Client, text: str, **body: object) -> httpx.Response:
    asked = {"model": MODEL, "input": {"prompt": text, **body}}
    return client.post("/v1/jobs", json=asked, headers={"idempotency-key": text})
