"""Workers as forks of a process that has imported what they need (`worker/fork_server.py`).

On Linux only: on macOS libraries do not bear a fork that runs no new program.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any, cast

from sightline.serving.child import Command, Process, opened

FORKS = sys.platform == "linux"
IMPORTS_S, ANSWER_S = 120.0, 10.0
"""Deadlines of a fork server's first answer, and of each later one, which takes it milliseconds."""


class ForkServer:
    """Constructing it starts the process, which takes seconds to be ready: `warm` waits for it, others block.

    One that does not answer in time is killed. The next fork starts it again; the workers that it had forked
    end with it, since nobody else learns how they end. Raises OSError where the program cannot be run.
    """

    def __init__(self, command: Command) -> None:
        self._command = command
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def warm(self) -> None:
        """Raises OSError. Where this is cancelled, a server that has not forked yet is killed."""
        process = self._alive()
        try:
            await asyncio.to_thread(process.ask, pid=process.pid)
        finally:
            if not process.answered:
                process.kill()

    def _alive(self) -> "_Process":
        if self._process.poll() is not None:
            self._process.close()
            self._process = self._start()
        return self._process

    def fork(self, command: Command) -> Process:
        """A process of its own where what the server imported runs threads. Raises OSError."""
        process = self._alive()
        with opened(command.log):
            # An error that keeps the log from being written is raised here.
            module = command.argv.index("-m") + 1
        log = None if command.log is None else str(command.log)
        request = {
            "argv": command.argv[module:],
            "env": dict(command.env),
            "cwd": str(command.cwd),
            "log": log,
        }
        pid = process.ask(**request)
        if isinstance(pid, str):
            raise OSError(pid)
        return command.program() if pid is None else ForkedProcess(pid, process)

    def forked(self, command: Command) -> "ForkedCommand":
        return ForkedCommand(**vars(command), server=self)

    def close(self) -> None:
        """Call when its workers have ended."""
        self._process.close()

    def _start(self) -> "_Process":
        with opened(self._command.log) as log:
            return _Process(
                self._command.argv,
                env=dict(self._command.env),
                cwd=self._command.cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )


class _Process(subprocess.Popen[str]):
    """A fork server, which one thread asks at a time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._asking = threading.Lock()
        self.answered = False

    def ask(self, **request: Any) -> Any:
        """Raises OSError if it has ended, or does not answer in time: then it is killed."""
        with self._asking:
            questions, answers = cast(IO[str], self.stdin), cast(IO[str], self.stdout)
            limit_s = ANSWER_S if self.answered else IMPORTS_S
            deadline = threading.Timer(limit_s, self.kill)
            deadline.start()
            try:
                print(json.dumps(request), file=questions, flush=True)
                line = answers.readline()
            finally:
                deadline.cancel()
            if not line:
                raise OSError(f"the fork server ended (its log says why), or hung for {limit_s:g} s")
            self.answered = True
            try:
                return json.loads(line)
            except ValueError:
                raise OSError(f"the fork server printed {line[:200]!r}") from None

    def close(self) -> None:
        # It holds nothing, and hears no other signal.
        self.kill()
        with suppress(BrokenPipeError):
            self.communicate()


@dataclass
class ForkedProcess:
    """A worker, with what is used of `subprocess.Popen`; our SIGCHLD tells of its end, too."""

    pid: int
    _server: _Process = field(repr=False)
    returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            try:
                self.returncode = self._server.ask(pid=self.pid)
            except (OSError, ValueError):
                # Whoever sees the end kills what is left of its group.
                self.returncode = -signal.SIGKILL
        return self.returncode

    def terminate(self) -> None:
        # Once its end was asked for, its id may be another's.
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class ForkedCommand(Command):
    """A command `python -m …` of which the server makes a process."""

    server: ForkServer = field(repr=False)

    def start(self) -> Process:
        return self.server.fork(self)
