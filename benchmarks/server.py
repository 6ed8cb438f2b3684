"""A record server on loopback, configured as `make run` does it."""

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from shared.settings import RedisSettings
from sightline.serving.memory import whole_mb
from sightline.serving.server import configuration, find_binary

START_LIMIT_S = 60


class NotStartedError(Exception):
    """A process under measurement did not come up; the message holds the end of its log."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def start(folder: Path, port: int, password: str) -> subprocess.Popen[bytes]:
    """The server once it listens; its log is `redis.log` in the folder. Raises NotStartedError."""
    log = folder / "redis.log"
    with log.open("wb") as out, TemporaryFile() as given:
        given.write(f"{configuration(port, password, whole_mb())}dir {folder}\n".encode())
        given.seek(0)
        process = subprocess.Popen(  # noqa: S603
            (str(find_binary().path), "-"), stdin=given, stdout=out, stderr=out
        )
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    process.kill()
    raise NotStartedError(log.read_text(errors="replace"))


@contextmanager
def opened() -> Iterator[RedisSettings]:
    """A server in a folder of its own, ended and removed whatever happens."""
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        port, password = free_port(), secrets.token_hex(8)
        process = start(Path(folder), port, password)
        try:
            yield RedisSettings.model_validate({"url": f"redis://:{password}@127.0.0.1:{port}/0"})
        finally:
            process.terminate()
            process.wait()
