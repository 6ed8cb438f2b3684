"""Free loopback ports."""

import os
import socket
from contextlib import suppress
from itertools import count

LOWEST, EACH = 10_000, 1_000
"""Below the ports that systems assign to connections: one of those may be taken before its server starts.
Each of up to ten test processes has ports of its own."""
_numbers = count(os.getpid())


def free_port() -> int:
    """A port that is still free when its server is started again."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    while True:
        port = LOWEST + process * EACH + next(_numbers) % EACH
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
