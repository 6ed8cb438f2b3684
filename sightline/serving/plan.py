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
from sightline.serving.processes import Process
from sightline.serving.server import Binary, configuration

ADMIN_KEY = "SIGHTLINE_API__ADMIN_KEY"
ANSWERS_S = 5.0
"""Ctrl-C ends the workers too: what their runs in progress do not answer soon, nothing will."""
OURS_ALONE = (ADMIN_KEY, "SIGHTLINE_METRICS__TOKEN")
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
        return self._command(
            processes.api(self.settings, "127.0.0.1", self.port, ANSWERS_S), dict(os.environ)
        )

    def worker(self, model: Model, number: int, more: Mapping[str, str]) -> Command:
        """Of several workers of a model here each has another number; `more` is added to its environment."""
        command = self._command(
            processes.worker(self.settings, model, number), _environment(WORKERS_LACK) | dict(more)
        )
        return self.fork_server.forked(command) if self.fork_server else command

    def courier(self) -> Command:
        return self._command(processes.courier(self.settings), _environment(OURS_ALONE))

    def _command(self, process: Process, inherited: dict[str, str]) -> Command:
        shared_env = {
            "SIGHTLINE_REDIS__URL": self.redis_url,
            "SIGHTLINE_MODELS_FILE": str(self.settings.models_file.resolve()),
            "SIGHTLINE_BLOBS__URL": self._blobs(),
        }
        return _command(process, inherited | shared_env, self.data)

    def _blobs(self) -> str:
        settings_set = self.settings.blobs.model_fields_set
        if self.data is None or "url" in settings_set:
            return self.settings.blobs.url
        return str(self.data.blobs)


def fork_server(
    settings: Settings, models: Iterable[Model], data: DataFolder | None = None
) -> ForkServer | None:
    """None where workers cannot be forked. Raises CommandError."""
    if not FORKS:
        return None
    try:
        return ForkServer(_command(processes.fork_server(settings, models), _environment(WORKERS_LACK), data))
    except OSError as error:
        raise CommandError(Exit.CHILD, f"The fork server could not be started: {error}") from None


def _command(process: Process, env: dict[str, str], data: DataFolder | None) -> Command:
    return Command(
        name=process.name,
        argv=(*PYTHON, "-m", *process.argv),
        env=with_our_packages(env | {"PYTHONUNBUFFERED": "1"} | dict(process.env)),
        cwd=Path.cwd(),
        log=None if data is None else data.logs / f"{process.name}.log",
        grace_s=process.grace_s,
    )


def _environment(lacks: Collection[str]) -> dict[str, str]:
    """Ours without keys, for processes that need none: a worker may run a model's own code."""
    return {name: value for name, value in os.environ.items() if name.upper() not in lacks}


@dataclass(frozen=True)
class OwnServer:
    """The record server we start ourselves: on loopback, with a free port and a password of its own."""

    url: str
    command: Command

    def limited(self, limit_bytes: int) -> Command:
        """The command to restart it with this memory limit: of two `maxmemory` lines the last counts."""
        return replace(self.command, stdin=f"{self.command.stdin}maxmemory {limit_bytes}\n")


def own_server(binary: Binary, data: DataFolder, lock_fd: int, acknowledge: str = "memory") -> OwnServer:
    """A server over the data folder; it holds the folder's lock for as long as it lives."""
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
