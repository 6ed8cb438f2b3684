"""Raises the limit on open files, of which each connection is one, for the processes of the service."""

import resource
from contextlib import suppress

ENOUGH = 10_240
"""For an API's 8000 callers, its connections to the record store, and pictures; macOS grants no more."""
FEWEST = 512
"""Below this a crowd of callers uses up the files that processes need to reach each other."""


def allow_files() -> int:
    """Raise the limit of this process and those it starts, as far as allowed; returns the new limit.

    Most systems start programs with 256 or 1024, and let each raise it (`ulimit -n` up to `ulimit -Hn`).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    # A sandbox may enforce a limit that it does not report.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft
