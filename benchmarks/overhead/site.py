"""The processes under measurement, all on loopback: one record server, ours and the baselines' beside it."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any
from urllib.request import urlopen

from redis import Redis

from benchmarks.overhead.questions import LANE, MODEL
from sightline.server import configuration, find_binary

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 60
STOP_LIMIT_S = 30
ROWS = 2
SERVE = (
    "--host",
    "127.0.0.1",
    "--no-access-log",
    "--log-level",
    "warning",
    "--loop",
    "uvloop",
    "--http",
    "httptools",
)
CELERY = (
    "worker",
    "--pool=threads",
    "-c",
    str(ROWS + 2),
    "--without-gossip",
    "--without-mingle",
    "--loglevel=WARNING",
)


class NotStartedError(Exception):
    """A process under measurement did not come up; the message holds the end of its log."""


@dataclass
class Site:
    """Everything started, by name, and where it listens."""

    folder: Path
    redis_port: int
    password: str
    api_port: int
    bare_port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def redis_url(self, database: int) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.redis_port}/{database}"

    def redis(self, database: int) -> Any:
        """A client; redis-py types every reply as "sync or async"."""
        return Redis.from_url(self.redis_url(database))

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(self, name: str, *argv: str, env: Mapping[str, str], stdin: bytes = b"") -> None:
        with self.log(name).open("wb") as log, TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            self.processes[name] = subprocess.Popen(  # noqa: S603
                argv, env=dict(os.environ) | dict(env), cwd=ROOT, stdin=given, stdout=log, stderr=log
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait_until(self, name: str, url: str) -> None:
        """Until `url` answers 200. Raises NotStartedError."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and not self._dead():
            try:
                with urlopen(url, timeout=2):  # noqa: S310
                    return
            except OSError:
                time.sleep(0.1)
        guilty = self._dead() or name
        raise NotStartedError(
            f"{guilty} did not start:\n{self.log(guilty).read_text(errors='replace')[-2000:]}"
        )

    def _dead(self) -> str:
        """The first process that ended by itself."""
        return next((name for name, process in self.processes.items() if process.poll() is not None), "")


@contextmanager
def opened() -> Iterator[Site]:
    """Start everything, hand it over when it serves, and end it whatever happens."""
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        site = Site(Path(folder), _port(), secrets.token_hex(8), _port(), _port())
        try:
            _start_redis(site)
            _start_ours(site)
            _start_baselines(site)
            site.wait_until("api", f"http://127.0.0.1:{site.api_port}/ready")
            site.wait_until("bare_web", f"http://127.0.0.1:{site.bare_port}/openapi.json")
            yield site
        finally:
            for name in reversed(list(site.processes)):
                site.stop(name)


def _start_redis(site: Site) -> None:
    """The server as `make run` configures it."""
    config = f"{configuration(site.redis_port, site.password)}dir {site.folder}\n"
    site.start("redis", str(find_binary().path), "-", env={}, stdin=config.encode())
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", site.redis_port)) == 0:
                return
        time.sleep(0.05)
    raise NotStartedError(site.log("redis").read_text(errors="replace"))


def _start_ours(site: Site) -> None:
    models = site.folder / "models.toml"
    models.write_text(f'[[models]]\nid = "{MODEL}"\nengine = "echo"\nrows = {ROWS}\n')
    env = {
        "SIGHTLINE_REDIS__URL": site.redis_url(0),
        "SIGHTLINE_MODELS_FILE": str(models),
        "SIGHTLINE_BLOBS__URL": str(site.folder / "blobs"),
        # Submits are measured with nobody consuming them.
        "SIGHTLINE_QUEUE__MAX_QUEUED": "10000000",
    }
    celery = (sys.executable, "-m", "celery", "-A")
    site.start("worker", *celery, "worker.app", *CELERY, "-Q", LANE, "-n", "worker@%h", env=env)
    site.start("courier", *celery, "worker.courier", *CELERY, "-Q", "intake", "-n", "courier@%h", env=env)
    # Every import of the process is written to its log: see `footprint.imported`.
    _start_web(
        site,
        "api",
        "--factory",
        "api.app:create_app",
        port=site.api_port,
        env=env | {"PYTHONPROFILEIMPORTTIME": "1"},
    )


def _start_baselines(site: Site) -> None:
    env = {"BENCH_REDIS": site.redis_url(2), "BENCH_BROKER": site.redis_url(1)}
    app = "benchmarks.overhead.bare_celery"
    site.start("bare_celery", sys.executable, "-m", "celery", "-A", app, *CELERY, "-n", "bare@%h", env=env)
    _start_web(site, "bare_web", "benchmarks.overhead.bare_web:app", port=site.bare_port, env=env)


def _start_web(site: Site, name: str, *app: str, port: int, env: Mapping[str, str]) -> None:
    site.start(name, sys.executable, "-m", "uvicorn", *app, "--port", str(port), *SERVE, env=env)


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
