"""Ends the service's processes if the supervisor was killed (SIGKILL, out of memory) and cannot do so.

It is a small process, because nothing else works on both Linux and macOS. It reads `+PID` and `-PID` lines
from a pipe; processes that are left at the pipe's end have lost their supervisor.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable

import psutil


class Watchdog:
    """The supervisor's side, which tells the watchdog about process groups."""

    def __init__(self, grace_s: float) -> None:
        read, self._write = os.pipe()
        # As a file: it imports nothing of ours, and so needs no path.
        argv = [sys.executable, "-P", __file__, str(grace_s)]
        self._process = subprocess.Popen(argv, stdin=read, start_new_session=True)  # noqa: S603
        os.close(read)

    def add(self, pid: int) -> None:
        self._send(f"+{pid}\n")

    def remove(self, pid: int) -> None:
        self._send(f"-{pid}\n")

    def close(self) -> None:
        """Let the watchdog end; call when no process is left."""
        os.close(self._write)
        # One that was stopped by a signal would never end.
        self._process.send_signal(signal.SIGCONT)
        self._process.wait()

    def _send(self, line: str) -> None:
        # The service goes on if its watchdog was killed.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._write, line.encode())


def survivors(lines: Iterable[str]) -> list[int]:
    """Return the processes that are left when the supervisor's lines end, newest first."""
    pids: dict[int, None] = {}
    for line in lines:
        if line.startswith("+"):
            pids[int(line[1:])] = None
        else:
            pids.pop(int(line[1:]), None)
    return list(reversed(pids))


def end(pids: list[int], grace_s: float) -> None:
    """SIGTERM, wait, SIGKILL; the first one started (the record server) goes last, so that it saves."""
    for group in (pids[:-1], pids[-1:]):
        processes = [psutil.Process(pid) for pid in group if psutil.pid_exists(pid)]
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        psutil.wait_procs(processes, timeout=grace_s)
        for pid in group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end(survivors(sys.stdin), float(sys.argv[1]))
