"""What `sightline run` starts: the command line and environment of each process."""

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.models import Model
from shared.settings import Settings
from sightline.child import Command
from sightline.folder import DataFolder
from sightline.server import Binary, configuration

COURIER_THREADS = 4
# Beyond a model's rows, so that the next pictures are prepared while every row is busy.
SPARE_THREADS = 2
# Of one API process: how long and how slow a request's head may be, and its connections.
LIMITS = ("--http", "api.protocol:LimitedProtocol", "--limit-concurrency", "2000")


@dataclass(frozen=True)
class Plan:
    """One installation on this machine; `redis_url` is where its records are, given or our own."""

    settings: Settings
    data: DataFolder
    port: int
    redis_url: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def api(self) -> Command:
        argv = ("uvicorn", "--factory", "api.app:create_app", "--host", "127.0.0.1", "--port", str(self.port))
        logs = ("--no-access-log", "--log-level", self.settings.log_level)
        return self._python("api", (*argv, *logs, *LIMITS, "--timeout-graceful-shutdown", "5"), grace_s=10)

    def worker(self, model: Model) -> Command:
        return self._celery(
            f"worker-{model.slug}",
            app="worker.app",
            node=model.slug,
            lane=model.lane,
            threads=model.rows + SPARE_THREADS,
            env={"SIGHTLINE_WORKER__MODEL": model.id, "OMP_NUM_THREADS": str(self.settings.worker.threads)},
        )

    def courier(self) -> Command:
        return self._celery(
            "courier", app="worker.courier", node="courier", lane="intake", threads=COURIER_THREADS, env={}
        )

    def _celery(
        self, name: str, *, app: str, node: str, lane: str, threads: int, env: Mapping[str, str]
    ) -> Command:
        argv = (
            "celery",
            "-A",
            app,
            "worker",
            "--pool=threads",
            "-c",
            str(threads),
            "-Q",
            lane,
            "-n",
            f"{node}@%h",
        )
        quiet = ("--without-gossip", "--without-mingle", f"--loglevel={self.settings.log_level}")
        return self._python(name, (*argv, *quiet), grace_s=self.settings.queue.drain_s + 5, env=env)

    def _python(
        self, name: str, argv: tuple[str, ...], *, grace_s: float, env: Mapping[str, str] | None = None
    ) -> Command:
        shared_env = {
            "SIGHTLINE_REDIS__URL": self.redis_url,
            "SIGHTLINE_MODELS_FILE": str(self.settings.models_file.resolve()),
            "SIGHTLINE_BLOBS__URL": self._blobs(),
            "PYTHONUNBUFFERED": "1",
        }
        return Command(
            name=name,
            argv=(sys.executable, "-m", *argv),
            env=dict(os.environ) | shared_env | dict(env or {}),
            cwd=Path.cwd(),
            log=self.data.logs / f"{name}.log",
            grace_s=grace_s,
        )

    def _blobs(self) -> str:
        given = self.settings.blobs.model_fields_set
        return self.settings.blobs.url if "url" in given else str(self.data.blobs)


@dataclass(frozen=True)
class OwnServer:
    """The record server we start ourselves: loopback, a port nobody else has, a password of its own."""

    url: str
    command: Command


def own_server(binary: Binary, data: DataFolder, lock_fd: int) -> OwnServer:
    """A server over the data folder; it holds the folder's lock for as long as it lives."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    password = secrets.token_hex(16)
    command = Command(
        name="redis",
        argv=(str(binary.path), "-"),
        env=dict(os.environ),
        cwd=data.redis,
        log=data.logs / "redis.log",
        grace_s=30,
        stdin=configuration(port, password),
        keep_fd=lock_fd,
    )
    return OwnServer(f"redis://:{password}@127.0.0.1:{port}/0", command)
