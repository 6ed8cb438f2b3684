"""Ends vLLM's processes when the worker that started them is gone, and never before.

vLLM ends them when a worker ends normally. A killed worker would leave them behind, and with them the
device's memory, which the next worker needs. And a signal to the worker's process group, as a terminal sends
for Ctrl-C, would end them while the worker still finishes what it has begun.
"""

import os
import select
import signal
import threading
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ParentExit:
    """Passed as `additional_config` in vLLM's configuration: it works in each process that unpickles it."""

    pid: int
    """The worker's process id."""

    def compute_hash(self) -> str:
        """vLLM keeps compiled programs under this hash; the tether does not change them."""
        return ""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # The worker's own copies change nothing, nor does a second one in a process of vLLM's.
        if os.getpid() not in (self.pid, os.getpgrp()):
            # A terminal may stop a process that writes from another group than its own.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            os.setpgid(0, 0)
            self._hold()

    def _hold(self) -> None:
        """From now on this process ends with the worker. Only on Linux."""
        if hasattr(os, "pidfd_open"):
            watched = os.pidfd_open(self.pid)
            threading.Thread(target=_outlive, args=(watched,), name="tether", daemon=True).start()


def _outlive(watched: int) -> None:
    select.select([watched], [], [])
    os._exit(0)
