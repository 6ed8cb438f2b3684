"""One process of the service, started again when it ends, as a supervisor does it."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

PAUSE_S = 0.5
"""Between an end and the next start."""
GRACE_S = 20.0
TOLD = "chaos: worker "
"""How a worker's line about itself begins."""


class Supervised:
    """A command in a process group of its own."""

    def __init__(self, name: str, argv: tuple[str, ...], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.exits: list[int] = []
        self._argv = argv
        self._env = env
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """None between an end and the next start."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def serves(self) -> bool:
        """Whether it has told its number since it came up; only workers do (`benchmarks.chaos.worker`)."""
        told = f" {self.pid}"
        return any(line.startswith(TOLD) and line.endswith(told) for line in self.lines())

    async def keep(self) -> None:
        """Until cancelled; then it is told to stop, and made to."""
        try:
            while True:
                self._process = await self._start()
                self.exits.append(await self._process.wait())
                self._end_group(self._process.pid)
                await asyncio.sleep(PAUSE_S)
        finally:
            await self._stop()

    def send(self, number: int) -> None:
        """A signal, where it runs."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    async def _start(self) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self._argv,
                env=self._env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await process.wait()
        finally:
            # Runs even when this task is cancelled a second time: no process is left behind.
            self._end_group(process.pid)
        await process.wait()

    def _end_group(self, pid: int) -> None:
        """Kills the whole group: a killed worker leaves the child behind that decoded its pictures."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
