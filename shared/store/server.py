"""What server a Redis URL leads to: asked at start, so that a wrong one is named before jobs rely on it."""

from dataclasses import dataclass
from typing import Any

import redis

from shared.errors import Unavailable

PARTS = ("server", "persistence", "memory", "replication", "cluster")


@dataclass(frozen=True)
class Server:
    """`compatible` is the Redis version whose commands it speaks; a Valkey also has a version of its own.

    `keeps` is false where accepted jobs may be lost at any restart (no append-only file), `evicts` is true
    where records may vanish when memory is full. A `replica` takes no writes of ours at all.
    """

    name: str
    version: str
    compatible: tuple[int, ...]
    keeps: bool
    evicts: bool
    cluster: bool
    replica: bool


def probe(url: str, *, timeout_s: float = 2) -> Server:
    """Ask the server what it is. Raises Unavailable `store_unavailable`; the message never holds the URL."""
    try:
        with redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s) as client:
            told = [client.info(part) for part in PARTS]
            info = {name: value for part in told for name, value in part.items()}
    except (redis.RedisError, ValueError, OSError) as error:
        raise Unavailable("store_unavailable", f"{type(error).__name__}: {error}"[:300]) from None
    if info.get("loading"):
        # A server that loads answers INFO, but nothing else yet.
        raise Unavailable("store_unavailable", "It is loading what it keeps.")
    if "redis_version" not in info:
        raise Unavailable("store_unavailable", "It does not tell its version by INFO.")
    spoken = str(info["redis_version"])
    return Server(
        name="Valkey" if "valkey_version" in info else "Redis",
        version=str(info.get("valkey_version", spoken)),
        compatible=tuple(int(p) for p in spoken.split(".")[:2]),
        keeps=bool(info.get("aof_enabled", True)),
        evicts=info.get("maxmemory_policy", "noeviction") != "noeviction",
        cluster=bool(info.get("cluster_enabled")),
        replica=info.get("role") == "slave",
    )


def make_room(url: str, times: float, *, timeout_s: float = 2) -> int | None:
    """Raise the server's memory limit to `times` what it uses, where that is more; the new limit in bytes.

    Raises Unavailable `store_unavailable`, as `probe` does.
    """
    try:
        with redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s) as client:
            memory: Any = client.info("memory")
            wanted = int(memory["used_memory"] * times)
            if not 0 < memory["maxmemory"] < wanted:
                return None
            client.config_set("maxmemory", wanted)
            return wanted
    except (redis.RedisError, OSError) as error:
        raise Unavailable("store_unavailable", f"{type(error).__name__}: {error}"[:300]) from None
