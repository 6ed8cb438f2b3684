"""Ends vLLM's processes when the worker that started them is gone.

vLLM ends them when a worker ends normally. A killed worker would leave them behind, and with them the
device's memory, which the next worker needs.
"""

import os
import select
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Tether:
    """Passed as `additional_config` in vLLM's configuration to the process that holds the model."""

    pid: int
    """The worker's process id."""

    def compute_hash(self) -> str:
        """vLLM keeps compiled programs under this hash; the tether does not change them."""
        return ""

    def hold(self) -> None:
        """From now on this process ends with the worker. Only on Linux."""
        if hasattr(os, "pidfd_open"):
            watched = os.pidfd_open(self.pid)
            threading.Thread(target=_outlive, args=(watched,), name="tether", daemon=True).start()


def _outlive(watched: int) -> None:
    select.select([watched], [], [])
    os._exit(0)
