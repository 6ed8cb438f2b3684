"""Start: the record server and the service's processes on loopback, all ended whatever happens."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeVar, cast
from urllib.request import Request, urlopen

from redis import Redis

from shared.cgroup import memory_bytes
from shared.models_file import load_models
from shared.settings import RedisSettings, Settings
from sightline.serving import processes
from sightline.serving.server import configuration, find_binary

S = TypeVar("S", bound="Services")
Env = Mapping[str, str]
ROOT = Path(__file__).parents[2]
TINY = ROOT / "models" / "tiny"
START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0
RESTART_PAUSE_S = 0.5
"""Between a process's end and its next start, where it is restarted."""
LAST_LINES = 20


class NotStartedError(Exception):
    """A process under measurement did not come up; the message holds the end of its log."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Process:
    """A command in a process group of its own, watched by a thread.

    With `restarts` it is started again whenever it ends, as a supervisor does it. `ended` is true once it has
    ended by itself.
    """

    def __init__(
        self, name: str, argv: Sequence[str], env: Env, log: Path, *, restarts: bool = False
    ) -> None:
        self.name, self.log = name, log
        self.ended = False
        self._argv, self._env, self._restarts = argv, env, restarts
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._launching = threading.Lock()

    @property
    def pid(self) -> int | None:
        """None between an end and the next start."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        self._launch()
        threading.Thread(target=self._watch, daemon=True).start()

    def send(self, number: int) -> None:
        """Send a signal if it runs."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def write(self, line: str) -> None:
        """Send a line to its standard input."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for its whole group."""
        with self._launching:
            self._stopping.set()
        process = self._process
        if process is None:
            return
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_LIMIT_S)
        finally:
            # Runs even if a signal's handler raises during the wait.
            self._end_group(process)
            process.wait()

    def _launch(self) -> None:
        with self._launching, self.log.open("ab") as log:
            if self._stopping.is_set():
                return
            self._process = subprocess.Popen(  # noqa: S603
                self._argv,
                env=dict(self._env),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _watch(self) -> None:
        while (process := self._process) is not None:
            process.wait()
            if self._stopping.is_set():
                return
            self.ended = True
            self._end_group(process)
            if not self._restarts or self._stopping.wait(RESTART_PAUSE_S):
                return
            self._launch()

    def _end_group(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill the whole group: a killed worker leaves the child running that decoded its pictures."""
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(OSError):
            cast(IO[bytes], process.stdin).close()


class RecordServer(Process):
    """A record server, configured as `make run` does it. It may be started again after `kill`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._password = secrets.token_hex(8)
        self._folder, self._file = folder, folder / "redis.conf"
        argv = (str(find_binary().path), str(self._file))
        super().__init__("redis", argv, os.environ, folder / "redis.log")

    @property
    def settings(self) -> RedisSettings:
        return RedisSettings.model_validate({"url": self.url()})

    def url(self, database: int = 0, *, port: int | None = None) -> str:
        """Return its address; with `port` that of a proxy before it."""
        return f"redis://:{self._password}@127.0.0.1:{port or self.port}/{database}"

    def client(self, database: int = 0, **options: Any) -> Any:
        """Return a client of the benchmark's own; redis-py types every reply as "sync or async"."""
        return Redis.from_url(self.url(database), **options)

    def start(self) -> None:
        """Return once it listens. Raises NotStartedError."""
        lines = configuration(self.port, self._password, memory_bytes() / 2**20)
        self._file.write_text(f"{lines}dir {self._folder}\n")
        super().start()
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self.pid is not None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.02)
        self.kill()
        raise NotStartedError(_ends_of_logs([self]))


class Services:
    """Processes by name in a folder of their own, in the order of their start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, Process] = {}

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    def start(self) -> None:
        """Start all that a benchmark needs; return once it serves."""

    def run(self, name: str, *argv: str, env: Env | None = None, **how: bool) -> Process:
        """`env` comes on top of ours, without the settings of the service."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SIGHTLINE_")}
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        whole = {**inherited, "PYTHONPATH": path, **(env or {})}
        process = Process(name, argv, whole, self.folder / f"{name}.log", **how)
        self.add(process)
        return process

    def add(self, process: Process) -> None:
        """Start it here, and end it with the others."""
        self.processes[process.name] = process
        process.start()

    def stop(self, name: str) -> None:
        self.processes.pop(name).stop()

    def stop_all(self) -> None:
        """End the last started first, even if the benchmark gets a signal meanwhile."""
        with ExitStack() as started:
            for name in list(self.processes):
                started.callback(self.stop, name)

    def pids(self) -> dict[str, int]:
        """Return the ids of the processes that run now."""
        return {name: pid for name, one in self.processes.items() if (pid := one.pid) is not None}

    def wait_until(
        self,
        url: str,
        limit_s: float = START_LIMIT_S,
        serves: Callable[[bytes], bool] = lambda _: True,
        key: str = "",
    ) -> None:
        """Return once `url` answers 200 with a body that `serves` accepts. Raises NotStartedError."""
        question = Request(url, headers={"authorization": f"Bearer {key}"} if key else {})  # noqa: S310

        def answers() -> bool:
            with suppress(OSError), urlopen(question, timeout=5) as answer:  # noqa: S310
                return serves(answer.read())
            return False

        self.until(answers, f"{url} serves", limit_s)

    def until(self, holds: Callable[[], bool], what: str, limit_s: float = START_LIMIT_S) -> None:
        """Return once `holds` is true. Raises NotStartedError, also if a process has ended."""
        deadline = time.monotonic() + limit_s
        while not holds():
            if ended := [process for process in self.processes.values() if process.ended]:
                raise NotStartedError(f"ended too early:\n{_ends_of_logs(ended)}")
            if time.monotonic() > deadline:
                raise NotStartedError(f"never: {what}\n{_ends_of_logs(self.processes.values())}")
            time.sleep(0.1)


class Installation(Services):
    """The service as `make run` configures it; `models` is the text of its models file.

    Every process of it gets `environment`; no setting comes from the benchmark's own.
    """

    def __init__(self, folder: Path, models: str, environment: Env | None = None) -> None:
        super().__init__(folder)
        self.records = RecordServer(folder)
        self.settings = Settings(log_level="warning")
        (folder / "models.toml").write_text(models)
        self.models = load_models(folder / "models.toml")
        self.environment = {
            "SIGHTLINE_REDIS__URL": self.records.url(),
            "SIGHTLINE_BLOBS__URL": str(folder / "blobs"),
            "SIGHTLINE_MODELS_FILE": str(folder / "models.toml"),
            **(environment or {}),
        }

    def api(self, port: int, name: str = "api", **how: Any) -> Process:
        command = processes.api(self.settings, "127.0.0.1", port)
        return self._run(name, command.argv, command.env, **how)

    def worker(self, model: str = "", name: str = "worker", app: str = "worker.app", **how: Any) -> Process:
        """Start one of this model, or of the first; `app` replaces the product's own.

        `how` has the `env` and the `python` if they are not this process's.
        """
        row = self.models.worker_model(model) if model else self.models.rows[0]
        command = processes.worker(self.settings, row)
        argv = (*(app if part == "worker.app" else part for part in command.argv), "-n", f"{name}@%h")
        return self._run(name, argv, command.env, **how)

    def courier(self, name: str = "courier", **how: Any) -> Process:
        command = processes.courier(self.settings)
        return self._run(name, (*command.argv, "-n", f"{name}@%h"), command.env, **how)

    def _run(
        self,
        name: str,
        argv: Sequence[str],
        own: Env,
        env: Env | None = None,
        python: Path | str = sys.executable,
        **how: bool,
    ) -> Process:
        whole = {**self.environment, **own, **(env or {})}
        return self.run(name, str(python), "-m", *argv, env=whole, **how)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="sightline-bench-") as folder:
        yield Path(folder)


@contextmanager
def opened(make: Callable[[Path], S]) -> Iterator[S]:
    """Yield started services in a folder of their own; all of it ends with the block."""
    with temporary_folder() as folder, ExitStack() as stack:
        services = make(folder)
        stack.callback(services.stop_all)
        services.start()
        yield services


@contextmanager
def record_server() -> Iterator[RecordServer]:
    """Yield one in a folder of its own, which ends with the block."""
    with temporary_folder() as folder, ExitStack() as stack:
        server = RecordServer(folder)
        stack.callback(server.stop)
        server.start()
        yield server


def _ends_of_logs(ended: Iterable[Process]) -> str:
    return "\n".join(f"{one.name}: {line}" for one in ended for line in one.lines()[-LAST_LINES:])
