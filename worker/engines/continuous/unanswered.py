"""How many answers somebody waits for."""

import threading

from worker.engines.pulse import Pulse


class Unanswered:
    """While there are any the pulse has to tick. From any thread."""

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
        """One, before it is handed over: its reader may look at the pulse then."""
        with self._lock:
            self._count -= 1
            if not self._count:
                self._pulse.rest()
