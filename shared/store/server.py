"""What server a Redis URL leads to, and what it lets us do: asked before jobs rely on it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError, ResponseError

from shared.errors import Unavailable
from shared.settings import RedisSettings
from shared.store.clients import open_client
from shared.store.files import identity
from shared.store.layout import QUESTIONS, LayoutError, RightsError, check_layout
from shared.store.models import registrations
from shared.store.script import ScriptCall, Store, WritesRefused, connect

PARTS = ("server", "persistence", "memory", "replication", "cluster")
TIMEOUT_S = 2.0
LOADING = "It is loading what it keeps."
UNKNOWN_COMMAND = "unknown command"
"""What a server without Redis Functions says of FCALL."""
RIGHTS: ScriptCall[bool] = ScriptCall("rights", {}, bool)
"""Fails where our user lacks a right that the functions need."""


@dataclass(frozen=True)
class Server:
    """`compatible` is the Redis version whose commands it speaks; a Valkey also has a version of its own.

    `keeps` is false where accepted jobs may be lost at any restart (no append-only file), `writes` where its
    last write to its disk failed. A `replica` takes no writes of ours at all. `max_bytes` is 0 without a
    limit.
    """

    name: str
    version: str
    compatible: tuple[int, ...]
    keeps: bool
    policy: str
    cluster: bool
    replica: bool
    writes: bool = True
    max_bytes: int = 0
    used_bytes: int = 0

    @property
    def evicts(self) -> bool:
        """Whether records may vanish when memory is full."""
        return self.policy != "noeviction"


@contextmanager
def _client(url: str) -> Iterator[Any]:
    """Raises Unavailable `store_unavailable`; its message never holds the URL."""
    limits = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    try:
        with open_client(url, decode_responses=True, **limits) as client:
            yield client
    except LayoutError:
        raise
    except (RedisError, ValueError, OSError) as error:
        raise Unavailable("store_unavailable", f"{type(error).__name__}: {error}"[:300]) from None


def probe(url: str) -> Server:
    """Ask the server what it is. Raises Unavailable `store_unavailable`."""
    with _client(url) as client:
        info = {name: value for part in PARTS for name, value in client.info(part).items()}
    if info.get("loading"):
        # A server that loads answers INFO, but nothing else yet.
        raise Unavailable("store_unavailable", LOADING)
    if "redis_version" not in info:
        raise Unavailable("store_unavailable", "It does not tell its version by INFO.")
    spoken = str(info["redis_version"])
    written = ("aof_last_write_status", "rdb_last_bgsave_status")
    return Server(
        name="Valkey" if "valkey_version" in info else "Redis",
        version=str(info.get("valkey_version", spoken)),
        compatible=tuple(int(p) for p in spoken.split(".")[:2]),
        keeps=bool(info.get("aof_enabled", True)),
        policy=str(info.get("maxmemory_policy", "noeviction")),
        cluster=bool(info.get("cluster_enabled")),
        replica=info.get("role") == "slave",
        writes=all(info.get(name, "ok") == "ok" for name in written),
        max_bytes=int(info.get("maxmemory", 0)),
        used_bytes=int(info.get("used_memory", 0)),
    )


def make_room(url: str, times: float) -> int | None:
    """Raise the server's memory limit to `times` what it uses, where that is more; the new limit in bytes.

    Raises Unavailable `store_unavailable`.
    """
    with _client(url) as client:
        memory = client.info("memory")
        wanted = int(memory["used_memory"] * times)
        if not 0 < memory["maxmemory"] < wanted:
            return None
        client.config_set("maxmemory", wanted)
        return wanted


def access(redis: RedisSettings) -> str:
    """Why the server refuses our functions, in its words; "" where a process can begin.

    Raises LayoutError, Unavailable.
    """
    store = connect(redis)
    try:
        store.run(registrations())
        with suppress(WritesRefused):
            store.run(RIGHTS)
            store.run(identity())
        return ""
    except RightsError as error:
        return error.why
    except ResponseError as error:
        return str(error)
    finally:
        store.client.close()


def check_functions(url: str) -> None:
    """Raises LayoutError, and Unavailable if we may not load or call our functions."""
    with _client(url) as client:
        check_layout([client.execute_command(*question) for question in QUESTIONS])
        with suppress(WritesRefused):
            store = Store(client)
            store.run(registrations())
            store.run(RIGHTS)
