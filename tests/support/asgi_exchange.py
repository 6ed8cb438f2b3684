"""One exchange with an ASGI application, driven by hand: streams, slow uploads, callers who leave."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LIMIT_S = 60


class Exchange:
    """Give it `chunks`, `start` it, then look at `status`, `headers` and `body` as they come."""

    def __init__(
        self,
        app: Any,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        chunks: tuple[bytes, ...] = (),
        http_version: str = "1.1",
    ) -> None:
        self._app = app
        target, _, query = path.partition("?")
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": http_version,
            "method": method,
            "scheme": "http",
            "path": target,
            "raw_path": target.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
            "server": ("sightline", 80),
            "client": ("127.0.0.1", 1),
        }
        self.pending = list(chunks)
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False
        self._gone = asyncio.Event()
        self._progress = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "Exchange":
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        return self

    def hang_up(self) -> None:
        self._gone.set()

    async def stop(self) -> None:
        """Cancel it, as the server does when it stops and has waited long enough."""
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self.finish()

    async def finish(self) -> None:
        """Until the application has returned."""
        assert self._task is not None
        async with asyncio.timeout(LIMIT_S):
            await self._task

    async def until(self, reached: Callable[["Exchange"], bool]) -> None:
        async with asyncio.timeout(LIMIT_S), self._progress:
            await self._progress.wait_for(lambda: reached(self))

    async def _receive(self) -> dict[str, Any]:
        if self.pending:
            chunk = self.pending.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self.pending)}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        async with self._progress:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
            else:
                self.body += message.get("body", b"")
                self.complete = not message.get("more_body", False)
            self._progress.notify_all()


def posted(app: Any, body: dict[str, Any], path: str = "/v1/chat/completions", **headers: str) -> Exchange:
    """A started POST of JSON; header names with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange(app, "POST", path, headers=named, chunks=(json.dumps(body).encode(),)).start()


def data(body: bytes) -> list[Any]:
    """What a client reads: the JSON of each `data: ` line, and the literal end."""
    lines = [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
