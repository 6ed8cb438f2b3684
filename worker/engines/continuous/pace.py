"""Decides how many prompt tokens are computed between two steps, so that decoding rows hardly notice."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from worker.engines.continuous.fit import Fit

# A smaller chunk costs more in overhead than it spares the decoding rows.
SMALLEST = 16
# Tokens of a chunk before anything was measured.
FIRST = 64
# A shorter wait goes unnoticed: a stream is written to its reader ten times a second at most.
UNNOTICED_S = 0.05
# A pass that takes this many times its fixed cost gains little by more prompts' tokens, while its first
# prompt has to wait for them.
ENOUGH = 4
# Prompts may share a pass of up to this many tokens in any model.
FEW = 256
# After this many steps with chunks one goes without, so that steps and passes both keep being measured.
OFTEN = 8


@dataclass(frozen=True)
class PassLimits:
    """What a pass may hold: at most `tokens` in all, of which at most `idle` are padding of shorter rows.

    The first prompt's chunk is about `chunk` tokens whatever the other limits are; None is all of it. If it
    would leave no more than `scraps` tokens, it takes these too. At most `newcomers` prompts may be prepared
    for the pass; None is any number.
    """

    tokens: int
    idle: int
    chunk: int | None = None
    newcomers: int | None = None
    scraps: int = 0

    def within(self, tokens: int | None) -> "PassLimits":
        """The same where memory has room for no pass of more than so many tokens; None is any number."""
        if tokens is None:
            return self
        chunk = min(tokens, self.chunk or tokens)
        scraps = min(self.scraps, tokens - chunk)
        return replace(self, tokens=min(self.tokens, tokens), chunk=chunk, scraps=scraps)


class Pace:
    """Measures steps and passes over prompts, and lets decoding rows wait for the time of `steps` steps.

    A step's time is estimated with all waiting rows in it: decoding rows will wait that long anyhow, and
    chunks sized for the few rows of now would be smaller, each reading all weights from memory once more.
    """

    def __init__(self, steps: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._steps = steps
        self._clock = clock
        self._step = Fit(least=0.0, unmeasured=0.0)
        self._pass = Fit(least=0.1, unmeasured=1.0)
        self._start = Fit(least=0.1, unmeasured=1.0)
        # Steps with chunks since the last one without, and the rows of the largest step without.
        self._since = self._most = 0
        self._rows = 0
        self._began = self._asked = clock()

    def turn(self, rows: int) -> None:
        """A turn begins, and decoding rows wait from now on; `rows` will decode once all have joined."""
        self._rows = rows
        self._began = self._asked = self._clock()

    def lasts(self) -> bool:
        """Whether decoding rows can wait once more as long as since the last call."""
        now = self._clock()
        last, self._asked = now - self._asked, now
        return now - self._began + last <= self._patience_s

    def stepped(self, rows: int, seconds: float) -> None:
        """Record a step of so many rows, without chunks."""
        self._step.add(rows, seconds)
        self._since, self._most = 0, max(rows, self._most)

    def begun(self, prompts: int, seconds: float) -> None:
        """Record that so many prompts were prepared, and their new pictures encoded."""
        self._start.add(prompts, seconds)

    def prefilled(self, tokens: int, seconds: float) -> None:
        """Record a pass over so many tokens of prompts."""
        if tokens:
            self._pass.add(tokens, seconds)

    @property
    def chunk(self) -> int:
        """Tokens of a prompt that can be computed in the time that decoding rows may still wait."""
        if not self._step.known or not self._pass.known:
            return FIRST
        pass_s, token_s = self._pass.base_s, self._pass.unit_s
        left = self._patience_s - (self._clock() - self._began)
        return round(max(SMALLEST, pass_s / token_s, (left - pass_s) / token_s))

    @property
    def _newcomers(self) -> int:
        """Prompts that can be prepared in the time that decoding rows may still wait."""
        if not self._start.known:
            return 1
        left = self._patience_s - (self._clock() - self._began)
        return max(1, int((left - self._start.base_s) / self._start.unit_s))

    def mixed(self) -> None:
        """Record a step with chunks; its time shows neither what the step took nor what the chunks did."""
        self._since += 1

    def mixes(self, rows: int) -> bool:
        """Whether a step of so many rows may compute chunks: what was measured without them still holds."""
        return self._since < OFTEN and rows < 2 * self._most

    def limits(self, *, hurried: bool) -> PassLimits:
        """What a pass may hold; `hurried` if rows decode and wait for it.

        Padding shorter rows may cost as much as computing them in a pass of their own.
        """
        own = round(self._pass.base_s / self._pass.unit_s) if self._pass.known else FIRST
        idle = max(SMALLEST, own)
        if not hurried:
            return PassLimits(max(FEW, ENOUGH * own), idle)
        return PassLimits(self.chunk, idle, self.chunk, self._newcomers, self._scraps)

    @property
    def _scraps(self) -> int:
        """Tokens better computed at once, because they cost less than the fixed cost of another pass.

        At most so many that decoding rows wait one step longer.
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
