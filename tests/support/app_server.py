"""The application on a socket, for clients that bring their own connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn


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
