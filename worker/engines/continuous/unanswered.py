"""Counts the answers that task threads wait for, to start and stop the engine's pulse."""

import threading

from worker.engines.pulse import Pulse


class Unanswered:
    """While there are any, the pulse has to tick. Any thread may call it."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._lock = threading.Lock()
        self._count = 0

    def come(self, count: int) -> None:
        with self._lock:
            if not self._count:
                self._pulse.start()
            self._count += count

    def end(self) -> None:
        """Count one less, before the answer is handed over: its reader may look at the pulse right then."""
        with self._lock:
            self._count -= 1
            if not self._count:
                self._pulse.rest()
