"""A receiver of webhooks on the loopback: keeps what it was told, and answers as the test says."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from pydantic_core import from_json
from standardwebhooks.webhooks import Webhook

from tests.support.http_server import Server, serving
from tests.support.patience import PATIENCE_S

OK: tuple[int, Mapping[str, str]] = (204, {})


@dataclass
class Call:
    """One call as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return from_json(self.body)


@dataclass
class Receiver:
    """`answers` are given one after the other, then OK; while `open` is not set, none is."""

    url: str
    calls: list[Call] = field(default_factory=list)
    answers: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)

    def verified(self, secret: str | bytes) -> list[Any]:
        """Every call's event, its signature verified by Standard Webhooks' own library."""
        return [Webhook(secret).verify(t.body, t.headers) for t in self.calls]


@contextmanager
def receiver(*answers: tuple[int, Mapping[str, str]]) -> Iterator[Receiver]:
    class Receiving(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept.calls.append(Call(self.path, headers, body))
            if not kept.open.wait(PATIENCE_S):
                return
            status, more = kept.answers.pop(0) if kept.answers else OK
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()

    server = Server(Receiving)
    kept = Receiver(f"{server.url}/told?by=us", answers=list(answers))
    kept.open.set()
    with serving(server):
        try:
            yield kept
        finally:
            kept.open.set()
