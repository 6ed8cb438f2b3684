"""How much of the prompts is computed between two steps, so that those who decode hardly notice."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.engines.continuous.fit import Fit

# A chunk smaller than this costs more in overhead than it spares the others.
SMALLEST = 16
# Before anything was measured.
FIRST = 64
# Nobody notices less: text is written to readers ten times a second at most.
UNNOTICED_S = 0.05
# A pass that takes so many times as long as it would for nothing has little more to gain by others' tokens,
# and its first prompt waits for them.
ENOUGH = 4
# So few tokens share a pass in any model.
FEW = 256
# So many steps take chunks along, then one goes by itself, so that both keep being measured.
OFTEN = 8


@dataclass(frozen=True)
class PassLimits:
    """What a pass may hold: `tokens` in all, of them `idle` ones that only fill up shorter rows.

    The first prompt's chunk is about `chunk` tokens, whatever the rest says; all of it without one. What it
    would leave is part of it where that is no more than `scraps`. So many `newcomers` may be made ready for
    it, any number without one.
    """

    tokens: int
    idle: int
    chunk: int | None = None
    newcomers: int | None = None
    scraps: int = 0


class Pace:
    """Measures steps and passes over prompts, and lets those who decode wait for `steps` steps' time.

    A step is worth what it takes with all who wait in it: that is what those who decode will wait for anyhow,
    and chunks that only suit a few rows would compute the weights' way through memory once more for each.
    """

    def __init__(self, steps: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._steps = steps
        self._clock = clock
        self._step = Fit(least=0.0, unmeasured=0.0)
        self._pass = Fit(least=0.1, unmeasured=1.0)
        self._start = Fit(least=0.1, unmeasured=1.0)
        # Steps with chunks since the last without, and the rows of the largest of these.
        self._since = self._most = 0
        self._rows = 0
        self._began = self._asked = clock()

    def turn(self, rows: int) -> None:
        """From now on those who decode wait; `rows` will decode once those who wait have joined."""
        self._rows = rows
        self._began = self._asked = self._clock()

    def lasts(self) -> bool:
        """Whether they can wait once more as long as since this was asked for the last time."""
        now = self._clock()
        last, self._asked = now - self._asked, now
        return now - self._began + last <= self._patience_s

    def stepped(self, rows: int, seconds: float) -> None:
        """A step of so many rows, by itself."""
        self._step.add(rows, seconds)
        self._since, self._most = 0, max(rows, self._most)

    def begun(self, prompts: int, seconds: float) -> None:
        """So many were made ready, and their new pictures encoded."""
        self._start.add(prompts, seconds)

    def prefilled(self, tokens: int, seconds: float) -> None:
        """A pass over so many tokens of prompts."""
        if tokens:
            self._pass.add(tokens, seconds)

    @property
    def chunk(self) -> int:
        """Tokens of a prompt for which those who decode wait no longer than they may."""
        if not self._step.known or not self._pass.known:
            return FIRST
        pass_s, token_s = self._pass.base_s, self._pass.unit_s
        left = self._patience_s - (self._clock() - self._began)
        return round(max(SMALLEST, pass_s / token_s, (left - pass_s) / token_s))

    @property
    def _newcomers(self) -> int:
        """Prompts that can be made ready while those who decode wait."""
        if not self._start.known:
            return 1
        left = self._patience_s - (self._clock() - self._began)
        return max(1, int((left - self._start.base_s) / self._start.unit_s))

    def mixed(self) -> None:
        """A step that took along chunks of prompts, which tells neither what it took nor what they did."""
        self._since += 1

    def mixes(self, rows: int) -> bool:
        """Whether a step of so many rows may take chunks along: what is known of both is not too old."""
        return self._since < OFTEN and rows < 2 * self._most

    def limits(self, *, hurried: bool) -> PassLimits:
        """What a pass may hold; `hurried` where some decode and wait for it.

        To fill up shorter rows is worth what it would cost to compute them in a pass of their own.
        """
        own = round(self._pass.base_s / self._pass.unit_s) if self._pass.known else FIRST
        idle = max(SMALLEST, own)
        if not hurried:
            return PassLimits(max(FEW, ENOUGH * own), idle)
        return PassLimits(self.chunk, idle, self.chunk, self._newcomers, self._scraps)

    @property
    def _scraps(self) -> int:
        """Tokens that cost less than what a pass costs before its first: for those who decode they are better
        computed at once. No more than make them wait one step longer.
        """
        if not self._pass.known:
            return 0
        return round(min(self._pass.base_s, self._step_s) / self._pass.unit_s)

    @property
    def _patience_s(self) -> float:
        return max(UNNOTICED_S, self._steps * self._step_s)

    @property
    def _step_s(self) -> float:
        return self._step.at(self._rows) if self._step.known else 0.0
