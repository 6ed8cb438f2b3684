"""What fails at each try is said now and then: lines that repeat hide the others."""

import time

EACH_S = 60.0


class LogThrottle:
    """Whether to say something again: at first, and then once a minute."""

    def __init__(self) -> None:
        self._said_at = -EACH_S

    def due(self) -> bool:
        """If it is, the caller says it now."""
        if time.monotonic() - self._said_at < EACH_S:
            return False
        self._said_at = time.monotonic()
        return True
