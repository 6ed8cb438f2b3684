"""The service as `make run` configures it, every process kept alive: record server, API, worker, courier."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.batches.lines import MODEL
from benchmarks.server import free_port
from benchmarks.service import Service, kept, until
from shared.settings import Settings

START_LIMIT_S = 120.0
ROWS = 16
MODELS = f"""
[[models]]
id = "{MODEL}"
engine = "echo"
rows = {ROWS}
"""


class Site(Service):
    """One process of each kind, all settings as shipped."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODELS, Settings(), {})
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes = {
            "api": self.api_process(self.port),
            "worker": self.worker_process(),
            "courier": self.courier_processes(1)[0],
        }

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of what runs now."""
        found = {name: process.pid for name, process in self.processes.items()}
        return {name: pid for name, pid in found.items() if pid is not None} | {"redis": self.records.pid}


@asynccontextmanager
async def opened() -> AsyncIterator[Site]:
    """Everything started and serving; all of it ends with the block."""
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        site = Site(Path(folder))
        running = list(site.processes.values())
        try:
            site.records.start()
            async with kept(running):
                await until(f"{site.url}/models/{MODEL}/health", running, START_LIMIT_S)
                yield site
        finally:
            site.records.kill()
