"""How many files a process of the service may have open at once: each connection is one, too."""

import resource
from contextlib import suppress

ENOUGH = 10_240
"""For an API's 2000 callers, its connections to the record store, and pictures; macOS grants no more."""
FEWEST = 512
"""Below that a crowd of callers takes the connections by which the processes speak with each other."""


def allow_files() -> int:
    """Raise the limit of this process, and so of what it starts, as far as it may; what the limit is then.

    Most systems start programs with 256 or 1024, and let each raise that (`ulimit -n` and `ulimit -Hn`).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    # A sandbox may know of a limit that it does not tell.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft
