"""The service under fire: a record server, two API processes, three workers behind proxies, two couriers."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from PIL import Image
from redis import Redis
from redis.exceptions import RedisError

from benchmarks import service
from benchmarks.chaos.questions import PICTURE_SIZE
from benchmarks.server import NotStartedError, free_port, start
from benchmarks.supervised import Supervised
from shared.models_file import load_models
from shared.settings import Settings
from sightline.serving import processes

MODEL = "chaos/echo"
WORKERS, APIS, COURIERS = 3, 2, 2
ROWS = 16
STEP_S = 0.02
PICTURE = "picture.png"
START_LIMIT_S = 90.0
QUEUE = {"lease_s": 5.0, "renew_s": 0.5, "rescue_s": 0.2, "stall_s": 1.5, "drain_s": 1.0, "worker_ttl_s": 5.0}
"""Shorter than the defaults, so that many recoveries fit into a run; the rest is as shipped."""
ENVIRONMENT = {
    "SIGHTLINE_FETCH__ALLOW": "127.0.0.1",
    **{f"SIGHTLINE_QUEUE__{key.upper()}": f"{value:g}" for key, value in QUEUE.items()},
}
SETTINGS = Settings(log_level="warning")
MODELS = f"""
[[models]]
id = "{MODEL}"
engine = "echo"
rows = {ROWS}
options = {{ step_s = {STEP_S} }}
"""


class Site:
    """Every process by name: `api-1`, `worker-1`, `courier-1` and so on; the record server is apart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._redis_port, self._password = free_port(), secrets.token_hex(8)
        self._redis: subprocess.Popen[bytes] | None = None
        self._proxy: subprocess.Popen[bytes] | None = None
        self._proxy_ports = [free_port() for _ in range(WORKERS)]
        self._web: subprocess.Popen[bytes] | None = None
        self._web_port = free_port()
        self._api_ports = [free_port() for _ in range(APIS)]
        (folder / "models.toml").write_text(MODELS)
        self.apis = [self._api(number) for number in range(APIS)]
        self.workers = [self._worker(number) for number in range(WORKERS)]
        url = self._redis_url(self._redis_port)
        self.couriers = service.couriers(folder, url, COURIERS, SETTINGS, ENVIRONMENT)

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self._api_ports]

    @property
    def picture(self) -> str:
        """The address of the only picture there is."""
        return f"http://127.0.0.1:{self._web_port}/{PICTURE}"

    @property
    def processes(self) -> list[Supervised]:
        return [*self.apis, *self.workers, *self.couriers]

    @property
    def redis_pid(self) -> int:
        if self._redis is None:
            raise NotStartedError("the record server was never started")
        return self._redis.pid

    def redis(self) -> Any:
        """A client of the harness's own; redis-py types every reply as "sync or async"."""
        return Redis.from_url(self._redis_url(self._redis_port), socket_timeout=2)

    async def start_redis(self) -> None:
        """Until it answers, with everything that its file holds."""
        # Not in a thread: a benchmark told to end meanwhile would not know the process, and leave it behind.
        self._redis = start(self.folder, self._redis_port, self._password)
        with self.redis() as client:
            while True:
                with contextlib.suppress(RedisError):
                    await asyncio.to_thread(client.ping)
                    return
                await asyncio.sleep(0.01)

    def end_redis(self) -> None:
        """As a crash would."""
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()

    def start_proxy(self) -> None:
        ports = map(str, (self._redis_port, *self._proxy_ports))
        self._proxy = subprocess.Popen(  # noqa: S603
            (sys.executable, "-m", "benchmarks.chaos.proxy", *ports),
            cwd=service.ROOT,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def start_web(self) -> None:
        """The server that couriers fetch from; a process of its own, since slowness would fail a job."""
        web = self.folder / "web"
        web.mkdir()
        Image.new("RGB", PICTURE_SIZE, "navy").save(web / PICTURE)
        argv = ("http.server", str(self._web_port), "--bind", "127.0.0.1", "--directory", str(web))
        self._web = subprocess.Popen(  # noqa: S603
            (sys.executable, "-m", *argv),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end_helpers(self) -> None:
        for process in (self._proxy, self._web):
            if process is not None:
                process.kill()
                # Closes the pipe too.
                process.communicate()

    def strike(self, worker: int, how: str) -> None:
        """Its connections to the record server are cut, or lose a reply: see `benchmarks.chaos.proxy`."""
        if self._proxy is None or self._proxy.stdin is None:
            raise NotStartedError("the proxy was never started")
        self._proxy.stdin.write(f"{how} {worker}\n".encode())
        self._proxy.stdin.flush()

    async def until_ready(self) -> None:
        """Until all workers are seen at every API. Raises NotStartedError."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            for url in self.urls:
                await service.until(partial(_serves, client, url), self.processes, START_LIMIT_S)

    def _redis_url(self, port: int) -> str:
        return f"redis://:{self._password}@127.0.0.1:{port}/0"

    def _api(self, number: int) -> Supervised:
        argv = processes.api(SETTINGS, "127.0.0.1", self._api_ports[number]).argv
        return self._service(f"api-{number + 1}", argv, {})

    def _worker(self, number: int) -> Supervised:
        model = load_models(self.folder / "models.toml").rows[0]
        process = processes.worker(SETTINGS, model)
        name = f"worker-{number + 1}"
        argv = tuple("benchmarks.chaos.worker" if part == "worker.app" else part for part in process.argv)
        env = {**process.env, "SIGHTLINE_REDIS__URL": self._redis_url(self._proxy_ports[number])}
        return self._service(name, (*argv, "-n", f"{name}@%h"), env)

    def _service(self, name: str, argv: tuple[str, ...], env: dict[str, str]) -> Supervised:
        url = self._redis_url(self._redis_port)
        return service.process(self.folder, url, name, argv, ENVIRONMENT | env)


async def _serves(client: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        reply = await client.get(f"{url}/status/{MODEL}")
        return reply.status_code == 200 and reply.json().get("workers") == WORKERS
    return False


@asynccontextmanager
async def opened() -> AsyncIterator[Site]:
    """Everything started and serving; all of it ends with the block."""
    with TemporaryDirectory(prefix="sightline-chaos-") as folder:
        site = Site(Path(folder))
        try:
            await site.start_redis()
            site.start_proxy()
            site.start_web()
            async with service.kept(site.processes):
                await site.until_ready()
                yield site
        finally:
            site.end_helpers()
            with contextlib.suppress(ProcessLookupError):
                os.kill(site.redis_pid, signal.SIGCONT)
            site.end_redis()
