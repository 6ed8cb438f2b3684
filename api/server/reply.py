"""What is known of an answer before it exists: headers that its error carries too, and what runs after it."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request
from starlette.types import Send

from api.server.memory_budget import Reservation
from shared import ids

KEY = "sightline.reply"
IGNORED = "x-ignored-fields"

GUARDS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Headers of every answer that does not set its own: browsers and proxies store, sniff, frame nothing."""
_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


@dataclass
class Reply:
    """One per request, made by `api.server.middleware`, which adds the headers when the answer starts.

    `reservation` is the memory taken by what the caller sends; `api.server.middleware` frees it at the end.
    `afterwards` is called once the answer was sent whole.
    `body_digest` is of the body, as received, of a call with an Idempotency-Key.
    `route` is the template of the path, once a route was found; `status` is the answer's, once it has begun.
    `send` sends a part of it, and its head once: one that is `kept_alive` has had it.
    """

    request_id: str
    reservation: Reservation
    send: Send
    headers: dict[str, str] = field(default_factory=dict)
    afterwards: Callable[[], Awaitable[None]] | None = None
    route: str = ""
    status: int | None = None
    kept_alive: bool = False
    body_digest: str = ""

    async def keep_alive(self, pause_s: float) -> None:
        """Send a line break in each pause, for ever; JSON may begin with them (RFC 8259, section 2).

        The first comes with the status 200: an error is told in the body alone from then on.
        """
        self.headers["preference-applied"] = "wait"
        await asyncio.sleep(pause_s)
        self.kept_alive, head = True, [(b"content-type", b"application/json")]
        await self.send({"type": "http.response.start", "status": 200, "headers": head})
        while True:
            await self.send({"type": "http.response.body", "body": b"\n", "more_body": True})
            await asyncio.sleep(pause_s)

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        own = {"x-request-id": self.request_id, **self.headers}
        return [(name.encode("ascii"), value.encode("latin-1")) for name, value in own.items()]


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's own id where it is well-formed, else a new one; the headers' names are in lower case."""
    for name, value in headers:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return str(value, "ascii")
    return ids.request_id()


def reply_of(request: Request) -> Reply:
    return cast(Reply, request.scope[KEY])
