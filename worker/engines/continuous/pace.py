"""How much of the prompts is computed between two steps, so that those who decode hardly notice."""

import time
from collections.abc import Callable

# A piece smaller than this costs more in overhead than it spares the others.
SMALLEST = 16
# Before anything was measured.
FIRST = 64
# Weight of the newest measurement.
NEWEST = 0.2
# Nobody notices less: text is written to readers ten times a second at most.
UNNOTICED_S = 0.05


class Pace:
    """Measures steps and passes over prompts, and lets those who decode wait for `steps` steps' time.

    A pass takes so long whatever it computes, and so much longer for each token.
    """

    def __init__(self, steps: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._steps = steps
        self._clock = clock
        self._step_s: float | None = None
        self._tokens = self._seconds = self._spread = self._together = 0.0
        self._began = self._asked = clock()

    def turn(self) -> None:
        """From now on those who decode wait."""
        self._began = self._asked = self._clock()

    @property
    def patient(self) -> bool:
        """Whether they can wait once more as long as since this was asked for the last time."""
        now = self._clock()
        last, self._asked = now - self._asked, now
        return now - self._began + last <= self._patience_s

    def stepped(self, seconds: float) -> None:
        self._step_s = seconds if self._step_s is None else self._step_s + NEWEST * (seconds - self._step_s)

    def prefilled(self, tokens: int, seconds: float) -> None:
        """A pass over so many tokens of a prompt."""
        if not tokens:
            return
        newest = NEWEST if self._tokens else 1.0
        more, longer = tokens - self._tokens, seconds - self._seconds
        self._tokens += newest * more
        self._seconds += newest * longer
        self._spread = (1 - newest) * (self._spread + newest * more * more)
        self._together = (1 - newest) * (self._together + newest * more * longer)

    @property
    def chunk(self) -> int:
        """Tokens of a prompt for which those who decode wait no longer than they may."""
        if self._step_s is None or not self._tokens:
            return FIRST
        least = self._seconds / self._tokens
        token_s = min(max(self._together / self._spread, least / 10), least) if self._spread else least
        pass_s = self._seconds - token_s * self._tokens
        left = self._patience_s - (self._clock() - self._began)
        return round(max(SMALLEST, pass_s / token_s, (left - pass_s) / token_s))

    @property
    def _patience_s(self) -> float:
        return max(UNNOTICED_S, self._steps * (self._step_s or 0))
