"""The service under fire: a record server, two API processes, three workers behind proxies, two couriers."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from PIL import Image
from redis.exceptions import RedisError

from benchmarks.chaos.questions import PICTURE_SIZE
from benchmarks.server import NotStartedError, free_port
from benchmarks.service import ROOT, Service, kept, until
from benchmarks.supervised import Supervised
from shared.settings import Settings

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
MODELS = f"""
[[models]]
id = "{MODEL}"
engine = "echo"
rows = {ROWS}
options = {{ step_s = {STEP_S} }}
"""


class Site(Service):
    """Every process by name: `api-1`, `worker-1`, `courier-1` and so on; the record server is apart."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODELS, Settings(log_level="warning"), ENVIRONMENT)
        self._proxy: subprocess.Popen[bytes] | None = None
        self._proxy_ports = [free_port() for _ in range(WORKERS)]
        self._web: subprocess.Popen[bytes] | None = None
        self._web_port = free_port()
        api_ports = [free_port() for _ in range(APIS)]
        self.urls = [f"http://127.0.0.1:{port}" for port in api_ports]
        self.apis = [self.api_process(port, f"api-{n}") for n, port in enumerate(api_ports, 1)]
        self.workers = [
            self.worker_process(f"worker-{n}", port=port, app="benchmarks.chaos.worker")
            for n, port in enumerate(self._proxy_ports, 1)
        ]
        self.couriers = self.courier_processes(COURIERS)

    @property
    def picture(self) -> str:
        """The address of the only picture there is."""
        return f"http://127.0.0.1:{self._web_port}/{PICTURE}"

    @property
    def processes(self) -> list[Supervised]:
        return [*self.apis, *self.workers, *self.couriers]

    async def start_records(self) -> None:
        """Until the record server answers, with everything that its file holds."""
        # Not in a thread: a benchmark told to end meanwhile would not know the process, and leave it behind.
        self.records.start()
        with self.records.client(socket_timeout=2) as client:
            while True:
                with contextlib.suppress(RedisError):
                    await asyncio.to_thread(client.ping)
                    return
                await asyncio.sleep(0.01)

    def start_proxy(self) -> None:
        ports = map(str, (self.records.port, *self._proxy_ports))
        self._proxy = subprocess.Popen(  # noqa: S603
            (sys.executable, "-m", "benchmarks.chaos.proxy", *ports),
            cwd=ROOT,
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


def _all_serve(status: httpx.Response) -> bool:
    return status.status_code == 200 and status.json().get("workers") == WORKERS


@asynccontextmanager
async def opened() -> AsyncIterator[Site]:
    """Everything started and serving; all of it ends with the block."""
    with TemporaryDirectory(prefix="sightline-chaos-") as folder:
        site = Site(Path(folder))
        try:
            await site.start_records()
            site.start_proxy()
            site.start_web()
            async with kept(site.processes):
                for url in site.urls:
                    await until(f"{url}/status/{MODEL}", site.processes, START_LIMIT_S, _all_serve)
                yield site
        finally:
            site.end_helpers()
            with contextlib.suppress(ProcessLookupError, NotStartedError):
                os.kill(site.records.pid, signal.SIGCONT)
            site.records.kill()
