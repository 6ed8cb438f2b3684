"""One process of the service: started, watched, stopped."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_PAUSE_S = 30.0
LONGEST_LOG = 16 * 2**20
"""Bytes beyond which a log is put by when its process is started again; the last so many are kept."""

LAST_LINES = 8
"""Of its log, told of a process that died."""


@dataclass(frozen=True)
class Command:
    """How to start one process: it reads `stdin` and its end, keeps `keep_fd` open, writes to `log`."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    log: Path
    grace_s: float
    stdin: str = field(default="", repr=False)
    keep_fd: int | None = None


def backoff_s(deaths: int) -> float:
    """The pause before the restart after that many deaths in a row: 1, 2, 4 … 30 s."""
    return min(LONGEST_PAUSE_S, 2.0 ** min(deaths - 1, 10))


class Child:
    """A process in a session of its own: the terminal's Ctrl-C reaches the supervisor alone.

    Making one starts it. Its log goes on where an earlier one's ended: who starts the service again after
    a bad night still reads why it ended. Raises OSError where the program cannot be run.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.exited = asyncio.Event()
        self._process = self._spawn()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number where a signal ended it."""
        return self._process.returncode

    def restart(self) -> None:
        """Start it again after its death; its log goes on. Raises OSError as making one does."""
        self._process = self._spawn()
        self.exited.clear()

    def reap(self) -> None:
        """Note an exit, and end what it has left behind while its group's number is surely its own."""
        if self.exit_code is None and self._process.poll() is not None:
            self._kill_group()
            self.exited.set()

    async def stop(self) -> None:
        """SIGTERM, the grace time, then SIGKILL for it and whatever it has started."""
        if self.exit_code is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self.exited.wait(), self.command.grace_s)
        except TimeoutError:
            self._kill_group()
            await self.exited.wait()

    def _kill_group(self) -> None:
        # macOS answers EPERM for a group of which only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_lines(self) -> str:
        """The end of what it has written since it was last started, indented, for a person to read.

        Nothing where the log cannot be read: it may be lost with its folder.
        """
        try:
            with self.command.log.open("rb") as log:
                # One that was emptied since, as by `> x.log`, has grown from its beginning.
                log.seek(self._begun_at if self._begun_at <= log.seek(0, os.SEEK_END) else 0)
                lines = log.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        except OSError:
            return ""
        return "\n".join(f"  | {_readable(line)[:300]}" for line in lines)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self.command
        _put_by(command.log)
        with command.log.open("ab") as log, tempfile.TemporaryFile() as stdin:
            self._begun_at = log.tell()
            stdin.write(command.stdin.encode())
            stdin.seek(0)
            return subprocess.Popen(  # noqa: S603
                command.argv,
                env=dict(command.env),
                cwd=command.cwd,
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if command.keep_fd is None else (command.keep_fd,),
            )


def _put_by(log: Path) -> None:
    """The end of a log that has grown long is kept in place of the one before it; the log is begun anew.

    Where that cannot be done it goes on: a long log is better than no service.
    """
    with contextlib.suppress(OSError):
        if log.stat().st_size > LONGEST_LOG:
            _keep_end(log.replace(log.with_name(f"{log.name}.1")))


def _keep_end(log: Path) -> None:
    """Of a log that is longer, leave the last LONGEST_LOG bytes, on a full disk too. Raises OSError."""
    with log.open("r+b") as file:
        file.seek(-LONGEST_LOG, os.SEEK_END)
        end = file.read(LONGEST_LOG)
        # What is written needs no room that was not made first.
        file.truncate(LONGEST_LOG)
        file.seek(0)
        file.write(end)


def _readable(line: str) -> str:
    """The words of a line of JSON, and the last of its traceback, which says why; other lines as they are."""
    try:
        told = json.loads(line)
        return ": ".join([told["message"], *told.get("exception", "").splitlines()[-1:]])
    except (ValueError, LookupError, TypeError, AttributeError):
        return line
