"""Records when an engine makes progress: whether it hangs, and how soon it wants the next prompt."""

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


NEWEST = 0.1
"""Weight of the newest prompt in their mean."""


class PromptClock:
    """Times prompts that are computed several at once, one after the other, from their first tokens.

    A prompt's time runs from its begin, or from the first token before its own where that came later: of
    several whose first tokens come together, the others took none. So the mean is what one more adds.
    """

    def __init__(self) -> None:
        self.prompt_s = 0.0
        """Their mean, of late; 0 before the first."""
        self._began: dict[int, float] = {}
        self._last = 0.0

    @property
    def computing(self) -> bool:
        return bool(self._began)

    def begin(self, row: int) -> None:
        self._began[row] = time.monotonic()

    def end(self, row: int, *, computed: bool = False) -> None:
        """`computed`: its first token has come, else it was given up; harmless when repeated."""
        began = self._began.pop(row, None)
        if began is not None and computed:
            now = time.monotonic()
            took_s, self._last = now - max(began, self._last), now
            self.prompt_s += (NEWEST if self.prompt_s else 1.0) * (took_s - self.prompt_s)
