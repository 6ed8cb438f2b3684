"""The application on a socket, for clients that bring their own connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tests.support.patience import PATIENCE_S


@asynccontextmanager
async def listening(app: Any, **options: Any) -> AsyncIterator[str]:
    """The URL at which an application that was started already is reached; `options` are uvicorn's."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"{'https' if config.is_ssl else 'http'}://127.0.0.1:{port}"
    finally:
        await server.shutdown()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The one answer before the server closes: status, headers and body."""
    raw = await asyncio.wait_for(reader.read(), PATIENCE_S)
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body
