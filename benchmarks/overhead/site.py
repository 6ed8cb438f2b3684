"""The processes under measurement, all on loopback: one record server, ours and the baselines' beside it."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.overhead.questions import LANE, MODEL
from benchmarks.processes import ROOT, Processes
from benchmarks.server import RecordServer, free_port

LOAD_LIMIT_S = 240
"""How long a model may load that needs torch, on a busy machine."""
ROWS = 2
SERVE = (
    "--host",
    "127.0.0.1",
    "--no-access-log",
    "--log-level",
    "warning",
    "--loop",
    "uvloop",
    "--http",
    "httptools",
)
WORKER = "worker"
"""The module that fleets start; a baseline starts `celery`."""
CELERY = ("worker", "--pool=threads", "--without-gossip", "--without-mingle", "--loglevel=WARNING")


@dataclass(frozen=True)
class Served:
    """A model of the benchmarks; `terms` are the other lines of its row."""

    id: str
    rows: int
    terms: str

    @property
    def name(self) -> str:
        return self.id.rpartition("/")[2]

    @property
    def lane(self) -> str:
        return f"model.{self.id.replace('/', '--')}"


ECHO = Served(MODEL, ROWS, 'engine = "echo"')
WIDE = Served("bench/wide", 16, 'engine = "echo"')
PACED = Served("bench/paced", 2, 'engine = "echo"\noptions = { step_s = 0.01 }')
TINY = Served("sightline/tiny", 1, f'source = "{ROOT / "models" / "tiny"}"\ndtype = "float32"')


@dataclass
class Site(Processes):
    """Everything started, and where it listens."""

    records: RecordServer
    api_port: int
    bare_port: int


@contextmanager
def opened() -> Iterator[Site]:
    """Start everything, hand it over when it serves, and end it whatever happens."""
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        site = Site(Path(folder), RecordServer(Path(folder)), free_port(), free_port())
        try:
            site.processes["redis"] = site.records.start()
            _start_ours(site)
            _start_baselines(site)
            site.wait_until("api", f"http://127.0.0.1:{site.api_port}/ready")
            site.wait_until("bare_web", f"http://127.0.0.1:{site.bare_port}/openapi.json")
            yield site
        finally:
            site.stop_all()


def start_worker(site: Site, served: Served) -> None:
    """A worker for another model, named after it, once it is ready. Raises NotStartedError."""
    env = _environment(site) | {"SIGHTLINE_WORKER__MODEL": served.id}
    _start_celery(site, served.name, WORKER, "worker.app", "-Q", served.lane, env=env, rows=served.rows)
    site.wait_until(served.name, f"http://127.0.0.1:{site.api_port}/models/{served.id}/health", LOAD_LIMIT_S)


def _environment(site: Site) -> dict[str, str]:
    return {
        "SIGHTLINE_REDIS__URL": site.records.url(),
        "SIGHTLINE_MODELS_FILE": str(site.folder / "models.toml"),
        "SIGHTLINE_BLOBS__URL": str(site.folder / "blobs"),
        # Submits are measured with nobody consuming them.
        "SIGHTLINE_QUEUE__MAX_QUEUED": "10000000",
        "SIGHTLINE_QUEUE__MAX_QUEUED_CALLER": "10000000",
    }


def _start_ours(site: Site) -> None:
    rows = (f'[[models]]\nid = "{m.id}"\nrows = {m.rows}\n{m.terms}\n' for m in (ECHO, WIDE, PACED, TINY))
    (site.folder / "models.toml").write_text("".join(rows))
    env = _environment(site)
    _start_celery(site, "worker", WORKER, "worker.app", "-Q", LANE, env=env)
    _start_celery(site, "courier", WORKER, "worker.courier", "-Q", "intake", env=env)
    # Every import of the process is written to its log: see `footprint.imported`.
    _start_web(
        site,
        "api",
        "--factory",
        "api.app:create_app",
        port=site.api_port,
        env=env | {"PYTHONPROFILEIMPORTTIME": "1"},
    )


def _start_baselines(site: Site) -> None:
    env = {"BENCH_REDIS": site.records.url(2), "BENCH_BROKER": site.records.url(1)}
    _start_celery(site, "bare_celery", "celery", "benchmarks.overhead.bare_celery", env=env)
    _start_web(site, "bare_web", "benchmarks.overhead.bare_web:app", port=site.bare_port, env=env)


def _start_celery(
    site: Site, name: str, module: str, app: str, *queue: str, env: Mapping[str, str], rows: int = ROWS
) -> None:
    options = (*CELERY, "-c", str(rows + 2), "-n", f"{name}@%h", *queue)
    site.start(name, sys.executable, "-m", module, "-A", app, *options, env=env)


def _start_web(site: Site, name: str, *app: str, port: int, env: Mapping[str, str]) -> None:
    site.start(name, sys.executable, "-m", "uvicorn", *app, "--port", str(port), *SERVE, env=env)
