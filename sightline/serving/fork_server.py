"""Workers as forks of a process that has imported what they need (`worker/fork_server.py`).

On Linux only: on macOS libraries do not survive a fork that runs no new program.
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


class _Server(subprocess.Popen[str]):
    """The process of a fork server, which one thread asks at a time."""

    def __init__(self, command: Command) -> None:
        with opened(command.log) as log:
            super().__init__(
                command.argv,
                env=dict(command.env),
                cwd=command.cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._asking = threading.Lock()
        self.answered = False

    def ask(self, **request: Any) -> Any:
        """Raise OSError if it has ended, or does not answer in time: then it is killed."""
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
        # It holds nothing, and ignores other signals.
        self.kill()
        with suppress(BrokenPipeError):
            self.communicate()


class ForkServer:
    """The constructor starts the process, which takes seconds to be ready: `warm` waits for it.

    If it does not answer in time it is killed, and the next fork starts it again. The workers that it had
    forked end with it, because no other process learns how they end. Raises OSError if the program cannot be
    run.
    """

    def __init__(self, command: Command) -> None:
        self._command = command
        self._process = _Server(command)

    async def warm(self) -> None:
        """Raise OSError if it cannot fork. If this is cancelled before its first answer, it is killed."""
        process = self._alive()
        try:
            await asyncio.to_thread(process.ask, pid=process.pid)
        finally:
            if not process.answered:
                process.kill()

    def _alive(self) -> _Server:
        if self._process.poll() is not None:
            self.close()
            self._process = _Server(self._command)
        return self._process

    def fork(self, command: Command) -> Process:
        """Fork a worker, or start a program if the server's libraries run threads. Raises OSError."""
        with opened(command.log):
            # An error that keeps the log from being written is raised here.
            server, module = self._alive(), command.argv.index("-m") + 1
        pid = server.ask(
            argv=command.argv[module:],
            env=dict(command.env),
            cwd=str(command.cwd),
            log=command.log and str(command.log),
        )
        if isinstance(pid, str):
            raise OSError(pid)
        return command.program() if pid is None else ForkedProcess(pid, server)

    def forked(self, command: Command) -> "ForkedCommand":
        return ForkedCommand(**vars(command), server=self)

    def close(self) -> None:
        """Call when its workers have ended."""
        self._process.close()


@dataclass
class ForkedProcess:
    """A worker; our SIGCHLD tells of its end, too."""

    pid: int
    _server: _Server = field(repr=False)
    _code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            try:
                self._code = self._server.ask(pid=self.pid)
            except (OSError, ValueError):
                # The child that sees the end kills what is left of its group.
                self._code = -signal.SIGKILL
        return self._code

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
