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
"""Bytes beyond which a log is set aside when its process is restarted; its last LONGEST_LOG are kept."""

LAST_LINES = 8
"""Lines of its log that are shown of a process that died."""
OWN_SERVER = "redis"
"""The name of a record server of our own, which the others write to until their end."""


class Process(Protocol):
    """What is used of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...


@dataclass(frozen=True)
class Command:
    """How to start one process: it is given `stdin` to its end, keeps `keep_fd` open, writes to `log`.

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
        """Its process. Raises OSError where the program cannot be run."""
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

    Constructing it starts the process. It appends to the log of earlier starts: after a restart one can still
    read why the last process ended. Raises OSError where the program cannot be run.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.exited = asyncio.Event()
        self._begun_at = 0
        self._process = self._spawn()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number where a signal ended it."""
        return self._process.returncode

    @property
    def ending(self) -> str:
        """How it ended: its exit code, or the name of the signal."""
        code = self.exit_code or 0
        if code >= 0:
            return f"exit code {code}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"

    def restart(self) -> None:
        """Start it again after its death, appending to its log. Raises OSError as the constructor does."""
        self._process = self._spawn()
        self.exited.clear()

    def reap(self) -> bool:
        """Note an exit, and kill what the process left behind while its group id cannot yet be reused.

        Returns whether it has just ended.
        """
        # Whoever sends it a signal may have seen its end before.
        ended = not self.exited.is_set() and self._process.poll() is not None
        if ended:
            self._kill_group()
            self.exited.set()
        return ended

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
        # macOS answers EPERM where only zombies of a group are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_lines(self) -> str:
        """The last lines it has logged since it was last started, indented, for a person to read.

        Empty where it has none, or that cannot be read: it may be lost with its folder.
        """
        try:
            with (self.command.log or Path(os.devnull)).open("rb") as log:
                # A log emptied since, as by `> x.log`, is read from its beginning.
                log.seek(self._begun_at if self._begun_at <= log.seek(0, os.SEEK_END) else 0)
                lines = log.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        except OSError:
            return ""
        return "\n".join(f"  | {_readable(line)[:300]}" for line in lines)

    def _spawn(self) -> Process:
        if (log := self.command.log) is not None:
            _put_by(log)
            with contextlib.suppress(FileNotFoundError):
                self._begun_at = log.stat().st_size
        return self.command.start()


def opened(log: Path | None) -> AbstractContextManager[IO[bytes] | None]:
    return nullcontext() if log is None else log.open("ab")


def _put_by(log: Path) -> None:
    """Set aside the end of a log that has grown long, in place of the one before it, and begin a new log.

    Where that fails the log goes on: a long log is better than no service.
    """
    with contextlib.suppress(OSError):
        if log.stat().st_size > LONGEST_LOG:
            _keep_end(log.replace(log.with_name(f"{log.name}.1")))


def _keep_end(log: Path) -> None:
    """Keep the last LONGEST_LOG bytes of a longer log, even on a full disk. Raises OSError."""
    with log.open("r+b") as file:
        file.seek(-LONGEST_LOG, os.SEEK_END)
        end = file.read(LONGEST_LOG)
        # Truncated first, so that the write needs no new room on the disk.
        file.truncate(LONGEST_LOG)
        file.seek(0)
        file.write(end)


def _readable(line: str) -> str:
    """A JSON line's message and the last line of its traceback, which says why; other lines unchanged."""
    try:
        entry = json.loads(line)
        return ": ".join([entry["message"], *entry.get("exception", "").splitlines()[-1:]])
    except (ValueError, LookupError, TypeError, AttributeError):
        return line
