"""The command line and environment of each process that `sightline run` starts."""

import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shared.cgroup import memory_bytes
from shared.models import Model
from shared.settings import Settings
from sightline.serving import processes
from sightline.serving.child import OWN_SERVER, Command
from sightline.serving.folder import DataFolder
from sightline.serving.interpreter import PYTHON, with_our_packages
from sightline.serving.processes import Process
from sightline.serving.server import Binary, configuration

ADMIN_KEY = "SIGHTLINE_API__ADMIN_KEY"
ANSWERS_S = 5.0
"""Ctrl-C ends the workers too: what their runs in progress do not answer soon, nothing will."""
OURS_ALONE = (ADMIN_KEY, "SIGHTLINE_METRICS__TOKEN")


@dataclass(frozen=True)
class Plan:
    """One installation on this machine; `redis_url` is its record server, a given one or our own.

    `environments` has what each worker of a model gets besides the settings.
    """

    settings: Settings
    data: DataFolder
    port: int
    redis_url: str
    environments: Sequence[Mapping[str, str]] = ({},)

    @property
    def url(self) -> str:
        scheme = "http" if self.settings.api.tls_cert is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    def api(self) -> Command:
        return self._command(
            processes.api(self.settings, "127.0.0.1", self.port, ANSWERS_S), dict(os.environ)
        )

    def workers(self, model: Model) -> list[Command]:
        return [
            self._command(processes.worker(self.settings, model, number), _without_keys() | dict(more))
            for number, more in enumerate(self.environments, 1)
        ]

    def courier(self) -> Command:
        return self._command(processes.courier(self.settings), _without_keys())

    def _command(self, process: Process, inherited: dict[str, str]) -> Command:
        shared_env = {
            "SIGHTLINE_REDIS__URL": self.redis_url,
            "SIGHTLINE_MODELS_FILE": str(self.settings.models_file.resolve()),
            "SIGHTLINE_BLOBS__URL": self._blobs(),
            "PYTHONUNBUFFERED": "1",
        }
        return Command(
            name=process.name,
            argv=(*PYTHON, "-m", *process.argv),
            env=with_our_packages(inherited | shared_env | dict(process.env)),
            cwd=Path.cwd(),
            log=self.data.logs / f"{process.name}.log",
            grace_s=process.grace_s,
        )

    def _blobs(self) -> str:
        settings_set = self.settings.blobs.model_fields_set
        return self.settings.blobs.url if "url" in settings_set else str(self.data.blobs)


def _without_keys() -> dict[str, str]:
    """Our environment without keys, for processes that need none: a worker may run a model's own code."""
    return {name: value for name, value in os.environ.items() if name.upper() not in OURS_ALONE}


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
        grace_s=30,
        stdin=configuration(port, password, memory_bytes() / 2**20, acknowledge),
        keep_fd=lock_fd,
    )
    return OwnServer(f"redis://:{password}@127.0.0.1:{port}/0", command)
