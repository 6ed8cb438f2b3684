"""Ends the servers that tests started when the test process itself is killed: nothing else would.

A child of the test process reads from it the ids of processes to watch; at the end of that pipe it kills
those that are left.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache


@cache
def _reaper() -> "subprocess.Popen[bytes]":
    argv = [sys.executable, __file__]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)


def watch(pid: int) -> Callable[[], None]:
    """Have the process killed, with its group if it leads one, after this one; returns what ends that."""
    _write(f"+{pid}\n")
    return lambda: _write(f"-{pid}\n")


def _write(line: str) -> None:
    pipe = _reaper().stdin
    assert pipe is not None
    pipe.write(line.encode())
    pipe.flush()


def reap(lines: Iterable[str]) -> None:
    """Read ids until the other end is closed, then kill those that are left."""
    watched: set[int] = set()
    for line in lines:
        (watched.add if line[0] == "+" else watched.discard)(int(line[1:]))
    for pid in watched:
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    reap(sys.stdin)
