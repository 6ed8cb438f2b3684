"""The service as an operator runs it: record store, API processes, workers and courier."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import httpx

from shared.models import Model, Models
from shared.models_file import load_models
from sightline.serving.processes import COURIER_THREADS, LIMITS
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.redis_server import RedisServer, redis_server

ROOT = Path(__file__).parents[2]
TINY_ROW = f"""
[[models]]
id = "sightline/tiny"
source = "{ROOT / "models/tiny"}"
dtype = "float32"
engine = "continuous"
rows = 4
max_new_tokens = 48
"""
APIS = ("api", "api-2")
COURIER = "courier"
LOG_CHARS = 6000
# How long all processes may take to come up on a busy machine.
START_S = 100.0


class Service:
    """Processes by name: `api`, `api-2`, `courier`, and each model's id for its worker.

    `code` is the checkout that they run.
    """

    def __init__(
        self, folder: Path, redis: RedisServer, models: str, env: Mapping[str, str], code: Path = ROOT
    ) -> None:
        self.folder = folder
        self._code = code
        self.redis = redis
        path = folder / "models.toml"
        path.write_text(models, encoding="utf-8")
        self.models: Models = load_models(path)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SIGHTLINE_")}
        self.env = inherited | {
            "SIGHTLINE_REDIS__URL": redis.url(),
            "SIGHTLINE_BLOBS__URL": str(folder / "blobs"),
            "SIGHTLINE_MODELS_FILE": str(path),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(code),
            **env,
        }
        self._ports = {name: free_port() for name in APIS}
        # One client for all calls: making one takes longer than a call.
        self.caller = httpx.Client(timeout=PATIENCE_S)
        self.processes = {name: self._api(name, {}) for name in APIS}
        self.processes[COURIER] = self._celery(COURIER, "worker.courier", "intake", COURIER_THREADS, {})
        for model in self.models.rows:
            self.processes[model.id] = self.worker(model)

    def url(self, api: str = "api") -> str:
        return f"http://127.0.0.1:{self._ports[api]}"

    def add_api(self, name: str, env: Mapping[str, str]) -> None:
        """One more API process, under settings of its own; not yet started."""
        self._ports[name] = free_port()
        self.processes[name] = self._api(name, env)

    def worker(self, model: Model, app: str = "worker.app") -> Process:
        """A worker of a model, not yet started."""
        env = {"SIGHTLINE_WORKER__MODEL": model.id}
        return self._celery(model.slug, app, model.lane, model.threads, env)

    def add_node(self, name: str, env: Mapping[str, str]) -> Process:
        """An agent of one machine, which starts and stops the workers of all models; not yet started."""
        self.processes[name] = self._python(name, ("sightline", "node"), env)
        return self.processes[name]

    def start(self, *names: str) -> None:
        """Start what is not running."""
        for name in names:
            if not self.processes[name].alive:
                self.processes[name].start()

    def kill(self, name: str) -> None:
        self.processes[name].kill()

    def ready(self, *names: str, deadline_s: float = START_S) -> None:
        """Start what is not running, and wait until all of it does its work."""
        self.start(*names)
        waiting = set(names)

        def served() -> bool:
            workers = self._ready_workers()
            waiting.difference_update([name for name in waiting if self._serves(name, workers)])
            return not waiting

        until(served, deadline_s)

    def log(self, name: str) -> str:
        log = self.processes[name].log
        return log.read_text(errors="replace") if log.exists() else ""

    def log_size(self, name: str) -> int:
        log = self.processes[name].log
        return log.stat().st_size if log.exists() else 0

    def _serves(self, name: str, workers: set[int]) -> bool:
        assert self.processes[name].alive, f"{name} died:\n{self.log(name)[-4000:]}"
        if name in self._ports:
            health = self._read(f"{self.url(name)}/health")
            return bool(health.get("store") == "reachable")
        return name == COURIER or self.processes[name].pid in workers

    def _ready_workers(self) -> set[int]:
        """Their processes: one that was killed is still counted among its model's for a while."""
        models = self._read(f"{self.url()}/v1/admin/fleet").get("models", ())
        workers = (worker for model in models for worker in model["workers"])
        return {worker["pid"] for worker in workers if worker["state"] == "ready"}

    def _read(self, url: str) -> dict[str, Any]:
        """What a process answers, {} while it does not."""
        with suppress(httpx.TransportError):
            return cast(dict[str, Any], self.caller.get(url).json())
        return {}

    def _api(self, name: str, env: Mapping[str, str]) -> Process:
        argv = (
            "uvicorn",
            "--factory",
            "api.app:create_app",
            "--port",
            str(self._ports[name]),
            "--no-access-log",
            *LIMITS,
        )
        return self._python(name, argv, env)

    def _celery(self, name: str, app: str, lane: str, threads: int, env: Mapping[str, str]) -> Process:
        pool = ("--pool=threads", "-c", str(threads), "-Q", lane, "-n", f"{name}@%h")
        quiet = ("--without-gossip", "--without-mingle", "--loglevel=INFO")
        return self._python(name, ("worker", "--quiet", "-A", app, "worker", *pool, *quiet), env)

    def _python(self, name: str, argv: tuple[str, ...], env: Mapping[str, str]) -> Process:
        command = (sys.executable, "-m", *argv)
        return Process(command, self.env | dict(env), self.folder / f"{name}.log", cwd=self._code)


@contextmanager
def running_service(models: str, env: Mapping[str, str] | None = None) -> Iterator[Service]:
    """A service whose processes are still to be started; all of them end with the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sightline-service-")))
        redis = stack.enter_context(redis_server())
        yield stack.enter_context(ending(Service(folder, redis, models, env or {})))


@contextmanager
def ending(service: Service) -> Iterator[Service]:
    """All its processes end with the block."""
    try:
        yield service
    finally:
        service.caller.close()
        for process in service.processes.values():
            if process.alive:
                process.terminate()
        for process in service.processes.values():
            process.end()


@contextmanager
def watched(service: Service, names: Sequence[str]) -> Iterator[None]:
    """Start these again, whatever the test before killed; print all new logs, in case the test fails."""
    service.ready(*names)
    before = {name: service.log_size(name) for name in service.processes}
    yield
    for name, start in before.items():
        if service.log_size(name) > start:
            print(f"--- {name}\n{service.log(name)[start:][-LOG_CHARS:]}")
