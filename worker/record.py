"""What a worker tells about itself with each beat, for operators who look at the fleet."""

import os
import socket
import time

import psutil

from worker.lease import Leases
from worker.telemetry.tempo import Tempo


class Record:
    """`rows` is what the engine computes at once, `fingerprint` the engine's; 0 and empty while it loads."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._process = psutil.Process()
        self._host = socket.gethostname()
        self._since = time.time()
        self._tempo = Tempo()
        self.rows = 0
        self.fingerprint = ""

    def now(self) -> dict[str, str]:
        """`busy` counts the rows of all claims, also while pictures are prepared; `memory` is in bytes."""
        return {
            "host": self._host,
            "pid": str(os.getpid()),
            "since": f"{self._since:.3f}",
            "rows": str(self.rows),
            "fingerprint": self.fingerprint,
            "busy": str(self._leases.rows),
            "memory": str(self._process.memory_info().rss),
            "tokens_per_s": f"{self._tempo.per_s():.1f}",
        }
