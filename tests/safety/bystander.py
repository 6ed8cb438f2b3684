"""Somebody else, who asks an ordinary question again and again while strangers misbehave."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.safety.answers import LIMIT_S

PAUSE_S = 0.1


class Bystander:
    """`answers` counts those that were right; `trouble` is what else came."""

    def __init__(self, url: str, path: str) -> None:
        self._url = url
        self._path = path
        self.answers = 0
        self.trouble: list[str] = []
        self.over = threading.Event()

    def ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=LIMIT_S) as client:
            while not self.over.wait(PAUSE_S):
                question = f"still there? {self.answers}"
                try:
                    reply = client.post(self._path, json={"inputs": question})
                except httpx.TransportError as error:
                    self.trouble.append(repr(error))
                    continue
                if reply.status_code == 200 and reply.json() == [{"generated_text": question}]:
                    self.answers += 1
                else:
                    self.trouble.append(f"{reply.status_code} {reply.text[:200]}")


@contextmanager
def bystander(url: str, path: str) -> Iterator[Bystander]:
    somebody = Bystander(url, path)
    thread = threading.Thread(target=somebody.ask, daemon=True)
    thread.start()
    try:
        yield somebody
    finally:
        somebody.over.set()
        thread.join()
