"""The service's own processes under fire: their environment, how they are kept alive and waited for."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from benchmarks.server import NotStartedError, RecordServer
from benchmarks.supervised import Supervised
from shared.models_file import load_models
from shared.settings import Settings
from sightline.serving import processes

ROOT = Path(__file__).parents[1]
LAST_LINES = 5
T = TypeVar("T")


def _ok(answer: httpx.Response) -> bool:
    return answer.status_code == 200


def run(benchmark: Coroutine[Any, Any, T]) -> T:
    """To its end. SIGTERM cancels it, as Ctrl-C does; the exit code is 143, once all that it started is over.

    An exception that a signal's handler raises would come up anywhere, in asyncio's own lines too.
    """

    async def watched() -> T:
        if (task := asyncio.current_task()) is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await benchmark

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        sys.exit(143)


class Service:
    """The processes of one installation, none of them started.

    All get `environment`; no setting comes from the benchmark's own. `models` is the text of the models file.
    """

    def __init__(self, folder: Path, models: str, settings: Settings, environment: Mapping[str, str]) -> None:
        self.folder, self.records = folder, RecordServer(folder)
        self._settings, self._environment = settings, environment
        (folder / "models.toml").write_text(models)

    def api_process(self, port: int, name: str = "api") -> Supervised:
        return self._process(name, processes.api(self._settings, "127.0.0.1", port).argv, {})

    def worker_process(
        self, name: str = "worker", *, port: int | None = None, app: str = "worker.app"
    ) -> Supervised:
        """`app` in place of the worker's own, with the record server behind the proxy at `port`."""
        model = load_models(self.folder / "models.toml").rows[0]
        worker = processes.worker(self._settings, model)
        argv = tuple(app if part == "worker.app" else part for part in worker.argv)
        env = {**worker.env, "SIGHTLINE_REDIS__URL": self.records.url(port=port)}
        return self._process(name, (*argv, "-n", f"{name}@%h"), env)

    def courier_processes(self, count: int) -> list[Supervised]:
        """`courier-1` and so on, on one machine."""
        argv = processes.courier(self._settings).argv
        names = [f"courier-{number + 1}" for number in range(count)]
        return [self._process(name, (*argv, "-n", f"{name}@%h"), {}) for name in names]

    def _process(self, name: str, argv: tuple[str, ...], env: Mapping[str, str]) -> Supervised:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
        given = {
            "PYTHONPATH": str(ROOT),
            "SIGHTLINE_REDIS__URL": self.records.url(),
            "SIGHTLINE_BLOBS__URL": str(self.folder / "blobs"),
            "SIGHTLINE_MODELS_FILE": str(self.folder / "models.toml"),
        }
        command = (sys.executable, "-m", *argv)
        log = self.folder / f"{name}.log"
        return Supervised(name, command, {**inherited, **given, **self._environment, **env}, log)


@asynccontextmanager
async def kept(running: Sequence[Supervised]) -> AsyncIterator[None]:
    """Started, and started again whenever one ends; all of them end with the block."""
    keepers = [asyncio.create_task(one.keep()) for one in running]
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)


async def until(
    url: str, running: Sequence[Supervised], limit_s: float, serves: Callable[[httpx.Response], bool] = _ok
) -> None:
    """Until `url` answers so. Raises NotStartedError with the last lines of every log."""
    deadline = time.monotonic() + limit_s
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if serves(await client.get(url)):
                    return
            await asyncio.sleep(0.1)
    lines = [f"{one.name}: {line}" for one in running for line in one.lines()[-LAST_LINES:]]
    raise NotStartedError("\n".join(lines))
