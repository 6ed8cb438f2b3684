"""Clients of the server that a URL leads to, or of the primary that its Sentinels name.

With Sentinels each new connection asks them, so after a failover it leads to the new primary.
`shared.settings.redis` says what such a URL is.
"""

from typing import Any, cast
from urllib.parse import urlsplit

from redis import ConnectionPool, Redis, Sentinel
from redis.asyncio import ConnectionPool as AsyncConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import Sentinel as AsyncSentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from shared.settings.redis import sentinels

ONCE = Retry(NoBackoff(), 0)
SOCKET = ("socket_", "ssl")
"""Options that hold for connections to Sentinels, too."""


class Pool(SentinelConnectionPool):
    """Closes the connections to the Sentinels, too."""

    def close(self) -> None:
        super().close()
        for sentinel in self.sentinel_manager.sentinels:
            sentinel.close()


class AsyncPool(AsyncSentinelConnectionPool):
    """As `Pool`."""

    async def aclose(self) -> None:
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


def open_client(url: str, **options: Any) -> Redis:
    """For threads."""
    alone, asked = sentinels(url)
    if asked is None:
        return Redis.from_url(alone, **options)
    server, sentinel = _options(ConnectionPool.from_url(alone, **options).connection_kwargs, alone, ONCE)
    manager: Any = Sentinel(asked.hosts, sentinel_kwargs=sentinel, **server)  # type: ignore[no-untyped-call]
    return cast(Redis, manager.master_for(asked.name, connection_pool_class=Pool))


def open_async_client(url: str, **options: Any) -> AsyncRedis:
    """For asyncio."""
    alone, asked = sentinels(url)
    if asked is None:
        return AsyncRedis.from_url(alone, **options)
    parsed = AsyncConnectionPool.from_url(alone, **options).connection_kwargs
    server, sentinel = _options(parsed, alone, AsyncRetry(NoBackoff(), 0))
    manager: Any = AsyncSentinel(asked.hosts, sentinel_kwargs=sentinel, **server)  # type: ignore[no-untyped-call]
    return cast(AsyncRedis, manager.master_for(asked.name, connection_pool_class=AsyncPool))


def for_kombu(url: str, **options: Any) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """The same server as a broker: kombu's URL, transport options and TLS."""
    alone, asked = sentinels(url)
    if asked is None:
        return url, {}, None
    server, sentinel = _options(ConnectionPool.from_url(alone, **options).connection_kwargs, alone, ONCE)
    user = f"{urlsplit(alone).netloc.rpartition('@')[0]}@".removeprefix("@")
    urls = (f"sentinel://{user}{host}:{port}/{server['db']}" for host, port in asked.hosts)
    tls = {name: value for name, value in server.items() if name.startswith("ssl_")}
    return ";".join(urls), {"master_name": asked.name, "sentinel_kwargs": sentinel}, tls or None


def _options(
    parsed: dict[str, Any], url: str, retry: Retry | AsyncRetry
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of connections to the server, and to its Sentinels."""
    own = ("host", "port", "connection_class", "sentinel_username", "sentinel_password")
    server = {name: value for name, value in parsed.items() if name not in own}
    server["ssl"] = url.startswith("rediss:")
    sentinel = {name: value for name, value in server.items() if name.startswith(SOCKET)}
    # One that hangs is passed by, also where a server may be silent for ever.
    sentinel |= {"socket_timeout": server["socket_connect_timeout"], "retry": retry}
    for name in ("username", "password"):
        sentinel[name] = parsed.get(f"sentinel_{name}")
    return server, sentinel
