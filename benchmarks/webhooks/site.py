"""The service with its receivers: a record server, an API process, a worker, and couriers that are killed."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.server import free_port
from benchmarks.service import ROOT, Service, kept, until
from benchmarks.webhooks.receivers import BEHAVIOURS, HOSTS
from shared.settings import Settings

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


class Site(Service):
    """All processes; the couriers are killed by the run."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, MODELS, Settings(log_level="error"), ENVIRONMENT)
        self._seed = seed
        self._ports = dict(zip(BEHAVIOURS, (free_port() for _ in BEHAVIOURS), strict=True))
        self._receivers: subprocess.Popen[bytes] | None = None
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.couriers = self.courier_processes(COURIERS)
        self.processes = [self.api_process(port), self.worker_process(), *self.couriers]

    @property
    def calls(self) -> Path:
        """Where the receivers write down what they got."""
        return self.folder / "calls.jsonl"

    def receiver(self, behaviour: str, host: str = HOSTS[0]) -> str:
        return f"http://{host}:{self._ports[behaviour]}/told"

    def start_receivers(self) -> None:
        self.calls.touch()
        argv = (str(self.calls), str(self._seed), *map(str, self._ports.values()))
        self._receivers = subprocess.Popen(  # noqa: S603
            (sys.executable, "-m", "benchmarks.webhooks.receivers", *argv), cwd=ROOT
        )

    def end_receivers(self) -> None:
        if self._receivers is not None:
            self._receivers.kill()
            self._receivers.wait()


@asynccontextmanager
async def opened(seed: int) -> AsyncIterator[Site]:
    """Everything started and serving; all of it ends with the block."""
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        site = Site(Path(folder), seed)
        try:
            site.records.start()
            site.start_receivers()
            async with kept(site.processes):
                await until(f"{site.url}/ready", site.processes, START_LIMIT_S)
                yield site
        finally:
            site.end_receivers()
            site.records.kill()
