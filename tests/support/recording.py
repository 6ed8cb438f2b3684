"""What clients send, kept as it came, while the application answers as always."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from tests.support.app import application
from tests.support.app_server import listening
from tests.support.fake_service import answering


@dataclass
class Recording:
    """`bodies` are those of all requests that had one, in their order, as `_read` reads them."""

    app: Any
    url: str = ""
    bodies: list[Any] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""

        async def heard() -> Message:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            if body and not message.get("more_body", False):
                self.bodies.append(_read(body, dict(scope["headers"]).get(b"content-type")))
                body = b""
            return message

        await self.app(scope, heard, send)


def _read(body: bytes, kind: bytes | None) -> Any:
    """JSON as it means, other bytes in base64 beside what they were called."""
    try:
        return json.loads(body)
    except ValueError:
        return {"content-type": kind and kind.decode(), "bytes": base64.b64encode(body).decode()}


@asynccontextmanager
async def recording() -> AsyncIterator[Recording]:
    """Whatever is asked is answered `{"round": true}`."""
    async with application(answering('{"round": true}')) as app:
        found = Recording(app)
        async with listening(found) as found.url:
            yield found
