"""The processes under measurement, on loopback: ours as `make run` configures it, and the bare one."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.clients.questions import MODEL, STEP_S
from benchmarks.overhead.site import CELERY, SERVE, WORKER
from benchmarks.processes import Processes
from benchmarks.server import RecordServer, free_port

OURS, BARE = ("redis", "api", "worker"), ("bare",)


@dataclass
class Site(Processes):
    """Everything started, and where it listens."""

    records: RecordServer
    ports: Mapping[str, int]

    def url(self, side: str) -> str:
        return f"http://127.0.0.1:{self.ports[side]}"

    def cpu_s(self, names: Sequence[str]) -> float:
        """Processor time so far."""
        times = (psutil.Process(self.processes[name].pid).cpu_times() for name in names)
        return sum(float(spent.user + spent.system) for spent in times)


@contextmanager
def opened(rows: int) -> Iterator[Site]:
    """Start everything, hand it over when it serves, and end it whatever happens."""
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        ports = {"api": free_port(), "bare": free_port()}
        site = Site(Path(folder), RecordServer(Path(folder)), ports)
        try:
            site.processes["redis"] = site.records.start()
            _start(site, rows)
            site.wait_until("worker", f"{site.url('api')}/models/{MODEL}/health")
            site.wait_until("bare", f"{site.url('bare')}/ready")
            yield site
        finally:
            site.stop_all()


def _start(site: Site, rows: int) -> None:
    models = site.folder / "models.toml"
    models.write_text(
        f'[[models]]\nid = "{MODEL}"\nengine = "echo"\nrows = {rows}\noptions = {{ step_s = {STEP_S} }}\n'
    )
    env = {
        "SIGHTLINE_REDIS__URL": site.records.url(),
        "SIGHTLINE_MODELS_FILE": str(models),
        "SIGHTLINE_BLOBS__URL": str(site.folder / "blobs"),
    }
    lane = f"model.{MODEL.replace('/', '--')}"
    celery = (*CELERY, "-c", str(rows + 2), "-n", "worker@%h", "-Q", lane)
    site.start("worker", sys.executable, "-m", WORKER, "-A", "worker.app", *celery, env=env)
    _serve(site, "api", "--factory", "api.app:create_app", env=env)
    _serve(site, "bare", "benchmarks.clients.bare:app", env={})


def _serve(site: Site, name: str, *app: str, env: Mapping[str, str]) -> None:
    listen = ("--port", str(site.ports[name]), *SERVE)
    site.start(name, sys.executable, "-m", "uvicorn", *app, *listen, env=env)
