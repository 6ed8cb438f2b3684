"""Ends vLLM's processes when the worker that started them is gone.

vLLM ends them when a worker ends in order. One that is killed would leave them behind, and with them the
device's memory, which the next worker needs.
"""

import os
import select
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Tether:
    """Travels in vLLM's configuration, as `additional_config`, to the process that holds the model."""

    pid: int
    """The worker's."""

    def compute_hash(self) -> str:
        """Asked by vLLM, whose compiled programs are kept under it: nothing of this changes them."""
        return ""

    def hold(self) -> None:
        """From now on this process ends with the worker. Only on Linux."""
        if hasattr(os, "pidfd_open"):
            watched = os.pidfd_open(self.pid)
            threading.Thread(target=_outlive, args=(watched,), name="tether", daemon=True).start()


def _outlive(watched: int) -> None:
    select.select([watched], [], [])
    os._exit(0)
