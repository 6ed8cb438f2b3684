"""A process of the service under test: started, killed, started again, its log kept."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.patience import PATIENCE_S
from tests.support.reaper import watch

ROOT = Path(__file__).parents[2]
GRACE_S = 20


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


class Process:
    """One command line in a process group of its own."""

    def __init__(
        self, argv: tuple[str, ...], env: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> None:
        self.log = log
        self._cwd = cwd
        self._argv = argv
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                cwd=self._cwd,
                env=dict(self._env),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._unwatch = watch(self.pid)

    def wait(self, deadline_s: float = PATIENCE_S) -> int:
        """Its exit code; raises TimeoutExpired where it goes on living."""
        assert self._process is not None
        return self._process.wait(deadline_s)

    def kill(self) -> None:
        """As a crash would: no signal handler runs, its children are left to themselves."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to stop."""
        assert self._process is not None
        self._process.terminate()

    def end(self) -> None:
        """Stop it in any case, and what it has left behind."""
        if self._process is None:
            return
        if self.alive:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._unwatch()
