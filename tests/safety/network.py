"""A network of our own, in which every address of the internet is this machine.

Linux lets each thread choose its network namespace; what it starts afterwards lives in the same one. With a local
route for everything, a connection to any address arrives here, whichever it was: what is public can be served,
and what is private can be watched.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
OWN = Path("/proc/thread-self/ns/net")
SETUP = (
    "link set lo up",
    "route add local 0.0.0.0/0 dev lo",
    "-6 route add local ::/0 dev lo",
)


class NoNetworkError(Exception):
    """This machine lends no network of its own; the message says why."""


@contextmanager
def own_network() -> Iterator[None]:
    """For this thread and what it starts in the block. Raises NoNetworkError."""
    ip = shutil.which("ip", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if sys.platform != "linux" or os.geteuid() != 0 or ip is None:
        raise NoNetworkError("a network namespace needs Linux, root and the program `ip`")
    libc = ctypes.CDLL(None, use_errno=True)
    with OWN.open() as outside:
        if libc.unshare(CLONE_NEWNET):
            raise NoNetworkError(os.strerror(ctypes.get_errno()))
        try:
            for line in SETUP:
                subprocess.run([ip, *line.split()], check=True)
            yield
        finally:
            if libc.setns(outside.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "the way back into the machine's network is closed")


def nameservers() -> list[str]:
    """Whom this machine asks for names, as the C library reads it."""
    conf = Path("/etc/resolv.conf")
    lines = conf.read_text(encoding="utf-8").splitlines() if conf.exists() else []
    found = [words[1] for line in lines if (words := line.split())[:1] == ["nameserver"] and len(words) > 1]
    return found[:3] or ["127.0.0.1"]
