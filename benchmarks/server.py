"""A record server on loopback, configured as `make run` does it."""

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from redis import Redis

from shared.settings import RedisSettings
from sightline.serving.memory import whole_mb
from sightline.serving.server import configuration, find_binary

START_LIMIT_S = 60


class NotStartedError(Exception):
    """A process under measurement did not come up; the message holds the end of its log."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class RecordServer:
    """Not yet started; its log is `redis.log` in the folder."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder, self._password = folder, secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Raises NotStartedError."""
        if self._process is None:
            raise NotStartedError("the record server was never started")
        return self._process.pid

    def url(self, database: int = 0, *, port: int | None = None) -> str:
        """With `port` that of a proxy before it."""
        return f"redis://:{self._password}@127.0.0.1:{port or self.port}/{database}"

    def client(self, database: int = 0, **options: Any) -> Any:
        """One of the harness's own; redis-py types every reply as "sync or async"."""
        return Redis.from_url(self.url(database), **options)

    def start(self) -> subprocess.Popen[bytes]:
        """The server once it listens. Raises NotStartedError."""
        log = self._folder / "redis.log"
        with log.open("wb") as out, TemporaryFile() as given:
            lines = f"{configuration(self.port, self._password, whole_mb())}dir {self._folder}\n"
            given.write(lines.encode())
            given.seek(0)
            process = subprocess.Popen(  # noqa: S603
                (str(find_binary().path), "-"), stdin=given, stdout=out, stderr=out
            )
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    self._process = process
                    return process
            time.sleep(0.05)
        process.kill()
        raise NotStartedError(log.read_text(errors="replace"))

    def kill(self) -> None:
        """As a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def opened() -> Iterator[RedisSettings]:
    """A server in a folder of its own, ended and removed whatever happens."""
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        records = RecordServer(Path(folder))
        process = records.start()
        try:
            yield RedisSettings.model_validate({"url": records.url()})
        finally:
            process.terminate()
            process.wait()
