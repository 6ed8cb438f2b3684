"""One process of the service: started, watched, stopped."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

LONGEST_LOG = 16 * 2**20
"""Bytes of a log beyond which a restart renames it to `.1` and begins a new one."""
LAST_LINES, LAST_BYTES = 8, 2**14
"""What is shown of the log of a process that died."""
OWN_SERVER = "redis"
"""The name of our own record server, which the others write to until their end."""


class Process(Protocol):
    """The part of `subprocess.Popen` that is used."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...


@dataclass(frozen=True)
class Command:
    """How to start one process: it reads `stdin`, keeps `keep_fd` open and writes to `log`.

    Without a log it writes where this process does.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    log: Path | None
    grace_s: float
    stdin: str = field(default="", repr=False)
    keep_fd: int | None = None

    def start(self) -> Process:
        """Raise OSError if the program cannot be run."""
        return self.program()

    def program(self) -> subprocess.Popen[bytes]:
        with opened(self.log) as log, tempfile.TemporaryFile() as stdin:
            stdin.write(self.stdin.encode())
            stdin.seek(0)
            return subprocess.Popen(  # noqa: S603
                self.argv,
                env=dict(self.env),
                cwd=self.cwd,
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if self.keep_fd is None else (self.keep_fd,),
            )


class Child:
    """A process in a session of its own, so that the terminal's Ctrl-C reaches only the supervisor.

    The constructor starts the process. It appends to the log of earlier starts, so that one can still read
    after a restart why the last process ended. Raises OSError if the program cannot be run.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.exited = asyncio.Event()
        self.exit_code: int | None = None
        """None while it runs; minus the signal's number if a signal ended it."""
        self._process = self._spawn()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ending(self) -> str:
        """Return its exit code, or the name of the signal that ended it."""
        code = self.exit_code or 0
        if code >= 0:
            return f"exit code {code}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"

    def restart(self) -> None:
        """Start it again after its death. Raises OSError as the constructor does."""
        self._process = self._spawn()
        self.exit_code = None
        self.exited.clear()

    def reap(self) -> bool:
        """Note an exit, and kill what the process left behind; return whether it has just ended."""
        if self.exited.is_set() or (code := self._process.poll()) is None:
            return False
        # Its group id cannot be reused yet.
        self._kill_group()
        self.exit_code = code
        self.exited.set()
        return True

    async def stop(self) -> None:
        """SIGTERM, the grace time, then SIGKILL for the process and all it has started."""
        if self.exit_code is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self.exited.wait(), self.command.grace_s)
        except TimeoutError:
            self._kill_group()
            await self.exited.wait()

    def _kill_group(self) -> None:
        # macOS answers EPERM if only zombies of a group are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_lines(self) -> str:
        """Return the last lines of its log, indented, for a person to read; empty if it cannot be read."""
        try:
            with (self.command.log or Path(os.devnull)).open("rb") as log:
                log.seek(max(log.seek(0, os.SEEK_END) - LAST_BYTES, 0))
                lines = log.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        except OSError:
            return ""
        return "\n".join(f"  | {_readable(line)[:300]}" for line in lines)

    def _spawn(self) -> Process:
        # A long log is better than no service.
        with contextlib.suppress(OSError):
            if (log := self.command.log) is not None and log.stat().st_size > LONGEST_LOG:
                log.replace(log.with_name(f"{log.name}.1"))
        return self.command.start()


def opened(log: Path | None) -> AbstractContextManager[IO[bytes] | None]:
    return nullcontext() if log is None else log.open("ab")


def _readable(line: str) -> str:
    """Return a JSON line's message and the last line of its traceback; other lines unchanged."""
    try:
        entry = json.loads(line)
        return ": ".join([entry["message"], *entry.get("exception", "").splitlines()[-1:]])
    except (ValueError, LookupError, TypeError, AttributeError):
        return line
