"""The service as `make run` configures it, every process kept alive: record server, API, worker, courier."""

import contextlib
import secrets
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from redis import Redis

from benchmarks import service
from benchmarks.batches.lines import MODEL
from benchmarks.server import free_port, start
from benchmarks.supervised import Supervised
from shared.models_file import load_models
from shared.settings import Settings
from sightline.serving import processes

START_LIMIT_S = 120.0
ROWS = 16
MODELS = f"""
[[models]]
id = "{MODEL}"
engine = "echo"
rows = {ROWS}
"""


class Site:
    """One process of each kind, all settings as shipped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._redis_port, self._password = free_port(), secrets.token_hex(8)
        self.record_server: subprocess.Popen[bytes] | None = None
        (folder / "models.toml").write_text(MODELS)
        settings, model = Settings(), load_models(folder / "models.toml").rows[0]
        worker = processes.worker(settings, model)
        self.processes = {
            "api": self._service("api", processes.api(settings, "127.0.0.1", self.port).argv, {}),
            "worker": self._service("worker", worker.argv, dict(worker.env)),
            "courier": service.couriers(folder, self._redis_url, 1, settings, {})[0],
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of what runs now."""
        found = {name: process.pid for name, process in self.processes.items()}
        if self.record_server is not None:
            found["redis"] = self.record_server.pid
        return {name: pid for name, pid in found.items() if pid is not None}

    def redis(self) -> Any:
        """A client of the harness's own; redis-py types every reply as "sync or async"."""
        return Redis.from_url(self._redis_url, socket_timeout=30, decode_responses=True)

    def start_redis(self) -> None:
        self.record_server = start(self.folder, self._redis_port, self._password)

    def end_redis(self) -> None:
        if self.record_server is not None:
            self.record_server.kill()
            self.record_server.wait()

    async def until_ready(self) -> None:
        """Until the worker serves. Raises NotStartedError."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            serves = partial(_serves, client, f"{self.url}/models/{MODEL}/health")
            await service.until(serves, list(self.processes.values()), START_LIMIT_S)

    @property
    def _redis_url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self._redis_port}/0"

    def _service(self, name: str, argv: tuple[str, ...], env: dict[str, str]) -> Supervised:
        return service.process(self.folder, self._redis_url, name, argv, env)


async def _serves(client: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get(url)).status_code == 200
    return False


@asynccontextmanager
async def opened() -> AsyncIterator[Site]:
    """Everything started and serving; all of it ends with the block."""
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        site = Site(Path(folder))
        try:
            site.start_redis()
            async with service.kept(list(site.processes.values())):
                await site.until_ready()
                yield site
        finally:
            site.end_redis()
