"""The command line and environment of each process that `sightline run` starts."""

import os
import secrets
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from shared.cgroup import memory_bytes
from shared.models import Model
from shared.settings import Settings
from sightline.exits import CommandError, Exit
from sightline.serving import processes
from sightline.serving.child import OWN_SERVER, Command
from sightline.serving.folder import DataFolder
from sightline.serving.fork_server import FORKS, ForkServer
from sightline.serving.interpreter import PYTHON, with_our_packages
from sightline.serving.server import Binary, configuration

ANSWERS_S = 5.0
"""Ctrl-C ends the workers too: runs in progress that do not answer soon never will."""
OURS_ALONE = ("SIGHTLINE_API__ADMIN_KEY", "SIGHTLINE_METRICS__TOKEN")
WORKERS_LACK = (*OURS_ALONE, "SIGHTLINE_HEARTBEAT_FILE")
"""A node writes the file of heartbeats itself."""


@dataclass(frozen=True)
class Plan:
    """One installation on this machine; `redis_url` is its record server, a given one or our own.

    Without a data folder, as a node of a fleet, its processes log to where this one does. Without a fork
    server each worker imports by itself what it needs.
    """

    settings: Settings
    redis_url: str
    data: DataFolder | None = None
    port: int = 0
    fork_server: ForkServer | None = None

    @property
    def url(self) -> str:
        scheme = "http" if self.settings.api.tls_cert is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    def api(self) -> Command:
        return self._command(processes.api(self.settings, "127.0.0.1", self.port, ANSWERS_S), os.environ)

    def worker(self, model: Model, number: int, more: Mapping[str, str]) -> Command:
        """Return a worker's command; `number` tells a model's workers apart, its environment has `more`."""
        process = processes.worker(self.settings, model, number)
        command = self._command(process, {**_environment(WORKERS_LACK), **more})
        return self.fork_server.forked(command) if self.fork_server else command

    def courier(self) -> Command:
        return self._command(processes.courier(self.settings), _environment(OURS_ALONE))

    def _command(self, process: processes.Process, inherited: Mapping[str, str]) -> Command:
        blobs = self.settings.blobs
        own_blobs = self.data is not None and "url" not in blobs.model_fields_set
        shared_env = {
            "SIGHTLINE_REDIS__URL": self.redis_url,
            "SIGHTLINE_MODELS_FILE": str(self.settings.models_file.resolve()),
            "SIGHTLINE_BLOBS__URL": str(self.data.blobs) if self.data and own_blobs else blobs.url,
        }
        return _command(process, {**inherited, **shared_env}, self.data)


def fork_server(
    settings: Settings, models: Iterable[Model], data: DataFolder | None = None
) -> ForkServer | None:
    """Start a fork server; None if workers cannot be forked. Raises CommandError."""
    try:
        process = processes.fork_server(settings, models)
        return ForkServer(_command(process, _environment(WORKERS_LACK), data)) if FORKS else None
    except OSError as error:
        raise CommandError(Exit.CHILD, f"The fork server could not be started: {error}") from None


def _command(process: processes.Process, env: Mapping[str, str], data: DataFolder | None) -> Command:
    return Command(
        name=process.name,
        argv=(*PYTHON, "-m", *process.argv),
        env=with_our_packages({**env, "PYTHONUNBUFFERED": "1", **process.env}),
        cwd=Path.cwd(),
        log=None if data is None else data.logs / f"{process.name}.log",
        grace_s=process.grace_s,
    )


def _environment(lacks: Collection[str]) -> dict[str, str]:
    """Return our environment without keys: a worker may run a model's own code."""
    return {name: value for name, value in os.environ.items() if name.upper() not in lacks}


@dataclass(frozen=True)
class OwnServer:
    """The record server that we start: on loopback, with a free port and a password of its own."""

    url: str
    command: Command

    def limited(self, limit_bytes: int) -> Command:
        """Return the command to restart it with this memory limit: the last `maxmemory` line counts."""
        return replace(self.command, stdin=f"{self.command.stdin}maxmemory {limit_bytes}\n")


def own_server(binary: Binary, data: DataFolder, lock_fd: int, acknowledge: str = "memory") -> OwnServer:
    """Return a server over the data folder; it holds the folder's lock for as long as it lives."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    password = secrets.token_hex(16)
    command = Command(
        name=OWN_SERVER,
        argv=(str(binary.path), "-"),
        env=dict(os.environ),
        cwd=data.redis,
        log=data.logs / "redis.log",
        grace_s=10,
        stdin=configuration(port, password, memory_bytes() / 2**20, acknowledge),
        keep_fd=lock_fd,
    )
    return OwnServer(f"redis://:{password}@127.0.0.1:{port}/0", command)
