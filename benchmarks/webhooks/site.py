"""The service with its receivers: a record server, an API process, a worker, and couriers that are killed."""

import contextlib
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from redis import Redis

from benchmarks import service
from benchmarks.server import free_port, start
from benchmarks.supervised import Supervised
from benchmarks.webhooks.receivers import BEHAVIOURS, HOSTS
from shared.models_file import load_models
from shared.settings import Settings
from sightline.serving import processes

MODEL = "told/echo"
COURIERS = 2
START_LIMIT_S = 120.0
LIMIT_S = 1.0
DELAYS_S = (0.5, 1, 2, 4, 8)
"""Shorter than the defaults, so that many tries fit into a run; the rest is as shipped."""
ENVIRONMENT = {
    "SIGHTLINE_FETCH__ALLOW": ",".join(HOSTS),
    "SIGHTLINE_WEBHOOK__LIMIT_S": f"{LIMIT_S:g}",
    "SIGHTLINE_WEBHOOK__DELAYS_S": ",".join(f"{pause:g}" for pause in DELAYS_S),
}
MODELS = f"""
[[models]]
id = "{MODEL}"
engine = "echo"
rows = 16
options = {{ step_s = 0.001 }}
"""


class Site:
    """All processes; the couriers are killed by the run."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._port, self._redis_port, self._password = free_port(), free_port(), secrets.token_hex(8)
        self._ports = dict(zip(BEHAVIOURS, (free_port() for _ in BEHAVIOURS), strict=True))
        self._apart: list[subprocess.Popen[bytes]] = []
        (folder / "models.toml").write_text(MODELS)
        settings, model = Settings(log_level="error"), load_models(folder / "models.toml").rows[0]
        worker = processes.worker(settings, model)
        self.api = self._service("api", processes.api(settings, "127.0.0.1", self._port).argv, {})
        self.worker = self._service("worker", worker.argv, dict(worker.env))
        self.couriers = service.couriers(folder, self._redis_url, COURIERS, settings, ENVIRONMENT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def calls(self) -> Path:
        """Where the receivers write down what they got."""
        return self._folder / "calls.jsonl"

    @property
    def processes(self) -> list[Supervised]:
        return [self.api, self.worker, *self.couriers]

    def receiver(self, behaviour: str, host: str = HOSTS[0]) -> str:
        return f"http://{host}:{self._ports[behaviour]}/told"

    def redis(self) -> Any:
        """A client of the harness's own; redis-py types every reply as "sync or async"."""
        return Redis.from_url(self._redis_url, socket_timeout=5, decode_responses=True)

    def start_what_lives(self) -> None:
        """The record server and the receivers."""
        self._apart.append(start(self._folder, self._redis_port, self._password))
        self.calls.touch()
        argv = (str(self.calls), str(self._seed), *map(str, self._ports.values()))
        self._apart.append(
            subprocess.Popen((sys.executable, "-m", "benchmarks.webhooks.receivers", *argv), cwd=service.ROOT)  # noqa: S603
        )

    def end_what_lives(self) -> None:
        for process in reversed(self._apart):
            process.kill()
            process.wait()

    async def until_ready(self) -> None:
        """Raises NotStartedError."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            await service.until(partial(_is_ready, client, self.url), self.processes, START_LIMIT_S)

    @property
    def _redis_url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self._redis_port}/0"

    def _service(self, name: str, argv: tuple[str, ...], env: dict[str, str]) -> Supervised:
        return service.process(self._folder, self._redis_url, name, argv, ENVIRONMENT | env)


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get(f"{url}/ready")).status_code == 200
    return False


@asynccontextmanager
async def opened(seed: int) -> AsyncIterator[Site]:
    """Everything started and serving; all of it ends with the block."""
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        site = Site(Path(folder), seed)
        try:
            site.start_what_lives()
            async with service.kept(site.processes):
                await site.until_ready()
                yield site
        finally:
            site.end_what_lives()
