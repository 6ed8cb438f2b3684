"""Records when an engine makes progress, so that the heartbeat can tell whether it hangs."""

import time


class ProgressClock:
    """Ticks while there is work; read by the heartbeat's thread."""

    def __init__(self) -> None:
        self._ticked: float | None = None
        self._longest = 0.0

    def start(self) -> None:
        """Work begins after a rest."""
        self._ticked = time.monotonic()

    def tick(self) -> None:
        """Some of the work is done."""
        now, ticked = time.monotonic(), self._ticked
        if ticked is not None:
            self._longest = max(self._longest, now - ticked)
            self._ticked = now

    def rest(self) -> None:
        """No work is left."""
        self._ticked = None

    @property
    def longest_s(self) -> float:
        """The longest pause between two ticks so far."""
        return self._longest

    def idle_s(self) -> float:
        """Seconds since the last tick; 0 at rest."""
        ticked = self._ticked
        return 0.0 if ticked is None else time.monotonic() - ticked
