"""Start: a record server, two APIs, three workers behind a network, two couriers, a receiver of webhooks."""

import asyncio
import contextlib
import json
import secrets
import sys
from pathlib import Path
from typing import Any

import psutil
from PIL import Image
from redis.exceptions import RedisError

from benchmarks.chaos.history import MODEL, PICTURE_SIZE
from benchmarks.frame.services import Installation, Process, free_port

WORKERS, APIS, COURIERS = 3, 2, 2
ROWS, STEP_S = 16, 0.02
PICTURE = "picture.png"
QUEUE = {"lease_s": 5.0, "renew_s": 0.5, "rescue_s": 0.2, "stall_s": 1.5, "drain_s": 1.0, "worker_ttl_s": 5.0}
"""Shorter than the defaults, so that many recoveries fit into a run; the rest is as shipped."""
ADMIN_KEY = secrets.token_hex(32)
ENVIRONMENT = {
    "SIGHTLINE_API__ADMIN_KEY": ADMIN_KEY,
    "SIGHTLINE_FETCH__ALLOW": "127.0.0.0/8",
    "SIGHTLINE_WEBHOOK__LIMIT_S": "5",
    "SIGHTLINE_WEBHOOK__DELAYS_S": "0.5,1,2,4,8,8,8",
    **{f"SIGHTLINE_QUEUE__{key.upper()}": f"{value:g}" for key, value in QUEUE.items()},
}
ROW: dict[str, Any] = {"id": MODEL, "engine": "echo", "rows": ROWS, "options": {"step_s": STEP_S}}
"""The model, as an operator adds it again."""
MODELS = f'[[models]]\nid = "{MODEL}"\nengine = "echo"\nrows = {ROWS}\noptions = {{ step_s = {STEP_S} }}\n'
DECODER = "shared.media.decode_picture"
"""The module of a process that decodes pictures."""
REPORT = "chaos: worker "
"""How a line begins with which a worker reports its id and its process: see `benchmarks.chaos.worker`."""


class ChaosServices(Installation):
    """Every process by name: `api-1`, `worker-1`, `courier-1` and so on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODELS, ENVIRONMENT)
        self._api_ports = [free_port() for _ in range(APIS)]
        self._proxy_ports = [free_port() for _ in range(WORKERS)]
        self._web_port, self.hook_port = free_port(), free_port()
        self.worker_urls = [self.records.url(port=port) for port in self._proxy_ports]
        """Of the record store, as each worker reaches it."""
        self.calls = folder / "calls.jsonl"
        """Where the receiver of webhooks records what it got."""
        self.urls = [f"http://127.0.0.1:{port}" for port in self._api_ports]
        self.picture = f"http://127.0.0.1:{self._web_port}/{PICTURE}"
        """The address of the only picture there is."""

    def start(self) -> None:
        """Return once every worker serves."""
        self.start_records()
        self._start_web()
        self.calls.touch()
        self.python("receiver", "benchmarks.webhooks.receivers", str(self.calls), "1", str(self.hook_port))
        for number, port in enumerate(self._api_ports, 1):
            self.api(port, f"api-{number}", restarts=True)
        for number, url in enumerate(self.worker_urls, 1):
            env = {"SIGHTLINE_REDIS__URL": url}
            self.worker(name=f"worker-{number}", app="benchmarks.chaos.worker", env=env, restarts=True)
        for number in range(COURIERS):
            self.courier(f"courier-{number + 1}", restarts=True)
        for url in self.urls:
            self.wait_until(f"{url}/status/{MODEL}", serves=_has_workers, key=ADMIN_KEY)

    def start_records(self) -> None:
        """Start the record server, and a network before each worker."""
        self.add(self.records)
        pairs = (f"{port}:{self.records.port}" for port in self._proxy_ports)
        self.python("network", "benchmarks.chaos.network", *pairs)

    def python(self, name: str, module: str, *arguments: str) -> Process:
        """Start a process of the benchmarks' own."""
        return self.run(name, sys.executable, "-m", module, *arguments)

    def of_kind(self, kind: str) -> list[Process]:
        return [process for name, process in self.processes.items() if name.startswith(f"{kind}-")]

    def decoders(self) -> list[psutil.Process]:
        """Return the processes that decode pictures for the workers."""
        found: list[psutil.Process] = []
        for worker in self.of_kind("worker"):
            with contextlib.suppress(psutil.Error):
                every = psutil.Process(worker.pid).children(recursive=True) if worker.pid else []
                found += [one for one in every if DECODER in one.cmdline()]
        return found

    def strike(self, worker: str, fault: str) -> None:
        """Strike its connections to the record server: see `benchmarks.chaos.network`."""
        self["network"].write(f"{fault} {int(worker.removeprefix('worker-')) - 1}")

    async def restart_records(self) -> None:
        """Return once the record server answers, with everything that its file holds."""
        # Not in a thread: a benchmark that is ended meanwhile would not know the process.
        self.records.start()
        with self.records.client(socket_timeout=2) as client:
            while True:
                with contextlib.suppress(RedisError):
                    await asyncio.to_thread(client.ping)
                    return
                await asyncio.sleep(0.01)

    def _start_web(self) -> None:
        """Start the server that couriers fetch from; in a process of its own, since slowness fails a job."""
        web = self.folder / "web"
        web.mkdir()
        Image.new("RGB", PICTURE_SIZE, "navy").save(web / PICTURE)
        self.python("web", "http.server", str(self._web_port), "--bind", "127.0.0.1", "--directory", str(web))


def reported(worker: Process) -> dict[str, int]:
    """Return the process of each id that a worker has had."""
    lines = (line for line in worker.lines() if line.startswith(REPORT))
    return {name: int(pid) for name, pid in (line.removeprefix(REPORT).split() for line in lines)}


def _has_workers(status: bytes) -> bool:
    return bool(json.loads(status)["workers"] == WORKERS)
