"""Starts processes, restarts those that die, and stops them, the record server last."""

import asyncio
import signal
import time
from collections.abc import Callable
from types import TracebackType

from shared.backoff import backoff_s
from sightline.exits import CommandError, Exit
from sightline.serving.child import OWN_SERVER, Child, Command
from sightline.serving.folder import display_path
from sightline.serving.watchdog import Watchdog

SETTLED_S = 60.0
"""A process that has lived this long begins a new count of deaths."""


class Supervisor:
    """Use as an async context manager in the main thread; on exit it stops everything it has started."""

    def __init__(self, say: Callable[[str], None], grace_s: float) -> None:
        self._say = say
        self._children: list[Child] = []
        self._ending: set[Child] = set()
        self._notify: dict[Child, Callable[[Child], None]] = {}
        self._keepers: asyncio.TaskGroup | None = None
        self._watchdog = Watchdog(grace_s)

    async def __aenter__(self) -> "Supervisor":
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.reap)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop our own record server last, because the others still write to it."""
        self._ending.update(self._children)
        for last in (False, True):
            group = [child for child in self._children if (child.command.name == OWN_SERVER) == last]
            await asyncio.gather(*(self._stop(child) for child in group))
        # Before the watchdog exits: its SIGCHLD could arrive when the loop is closed already.
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        self._watchdog.close()

    def start(self, command: Command, died: Callable[[Child], None] | None = None) -> Child:
        """Start a process. If `died` is given, that is called when the process dies, in place of a restart.

        Raises CommandError if its program cannot be run.
        """
        try:
            child = Child(command)
        except OSError as error:
            raise CommandError(Exit.CHILD, f"{command.name} could not be started: {error}") from None
        self._watchdog.add(child.pid)
        self._children.append(child)
        if died is not None:
            self._notify[child] = died
        elif self._keepers is not None:
            self._keepers.create_task(self._keep(child))
        return child

    async def end(self, child: Child) -> None:
        """Stop a process for good."""
        self._ending.add(child)
        await self._stop(child)
        self._ending.discard(child)
        self._notify.pop(child, None)
        if child in self._children:
            self._children.remove(child)

    def check(self) -> None:
        """Raise CommandError if a child has died: before the service is ready nothing is restarted."""
        for child in self._children:
            if child.exit_code is not None and child not in self._ending:
                raise death(child)

    async def keep(self) -> None:
        """Restart children that die, those started later too, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._keepers = tasks
            for child in self._children:
                if child not in self._notify:
                    tasks.create_task(self._keep(child))

    async def _keep(self, child: Child) -> None:
        deaths, failure = 0, ""
        while True:
            started = time.monotonic()
            await child.exited.wait()
            if child in self._ending or child not in self._children:
                return
            self._watchdog.remove(child.pid)
            deaths = 1 if time.monotonic() - started > SETTLED_S else deaths + 1
            pause = backoff_s(deaths)
            cause = failure or f"died ({child.ending}; {log_of(child)} has more)"
            self._say(f"{child.command.name} {cause}, restarting it in {pause:g} s")
            await asyncio.sleep(pause)
            if child in self._ending or child not in self._children:
                return
            try:
                child.restart()
                self._watchdog.add(child.pid)
                failure = ""
            except OSError as error:
                # It counts as one more death.
                failure = f"could not be started ({error})"

    async def _stop(self, child: Child) -> None:
        await child.stop()
        self._watchdog.remove(child.pid)

    def reap(self) -> None:
        """Note which children have ended, as SIGCHLD does; a fork server that hangs sends none."""
        for child in tuple(self._children):
            if child.reap() and child not in self._ending and child in self._notify:
                self._children.remove(child)
                self._watchdog.remove(child.pid)
                self._notify.pop(child)(child)


def log_of(child: Child) -> str:
    """Return where a person reads what a process wrote."""
    return "its output" if child.command.log is None else display_path(child.command.log)


def death(child: Child) -> CommandError:
    """Return the error for a process that died before the service was ready."""
    name, log = child.command.name, log_of(child)
    if child.exit_code == -signal.SIGKILL:
        words = f"{name} was killed by the system, as happens when memory runs out (log: {log})."
        return CommandError(Exit.MEMORY, words)
    return CommandError(Exit.CHILD, f"{name} died ({child.ending}); the end of {log}:\n{child.last_lines()}")
