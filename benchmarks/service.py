"""The service's own processes under fire: their environment, how they are kept alive and waited for."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.server import NotStartedError
from benchmarks.supervised import Supervised
from shared.settings import Settings
from sightline.serving import processes

ROOT = Path(__file__).parents[1]
LAST_LINES = 5
T = TypeVar("T")


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


def process(
    folder: Path, redis_url: str, name: str, argv: tuple[str, ...], env: Mapping[str, str]
) -> Supervised:
    """Not yet started; `argv` follows `python -m`. No setting comes from the environment of the benchmark."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    given = {
        "PYTHONPATH": str(ROOT),
        "SIGHTLINE_REDIS__URL": redis_url,
        "SIGHTLINE_BLOBS__URL": str(folder / "blobs"),
        "SIGHTLINE_MODELS_FILE": str(folder / "models.toml"),
    }
    command = (sys.executable, "-m", *argv)
    return Supervised(name, command, {**inherited, **given, **env}, folder / f"{name}.log")


def couriers(
    folder: Path, redis_url: str, count: int, settings: Settings, env: Mapping[str, str]
) -> list[Supervised]:
    """`courier-1` and so on, on one machine."""
    argv = processes.courier(settings).argv
    names = [f"courier-{number + 1}" for number in range(count)]
    return [process(folder, redis_url, name, (*argv, "-n", f"{name}@%h"), env) for name in names]


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


async def until(serves: Callable[[], Awaitable[bool]], running: Sequence[Supervised], limit_s: float) -> None:
    """Raises NotStartedError with the last lines of every log."""
    deadline = time.monotonic() + limit_s
    while not await serves():
        if time.monotonic() > deadline:
            lines = [f"{one.name}: {line}" for one in running for line in one.lines()[-LAST_LINES:]]
            raise NotStartedError("\n".join(lines))
        await asyncio.sleep(0.1)
