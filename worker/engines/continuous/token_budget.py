"""How many rows and how many prompt tokens a step takes, so that decoding rows hardly notice."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from shared.cgroup import free_memory_bytes
from worker.engines.continuous.adaptive_limit import AdaptiveLimit

# A straight line fitted to time measurements; the newest weigh most.

# Weight of the newest measurement.
NEWEST = 0.2


class LineFit:
    """The time of a computation as a fixed part plus a time per unit.

    A unit's time is at least `least` times the mean time per unit. While all measurements are of the same
    number of units, which shows no slope, it is `unmeasured` times that mean.
    """

    def __init__(self, *, least: float, unmeasured: float) -> None:
        self._least = least
        self._unmeasured = unmeasured
        self._units = self._seconds = self._spread = self._together = 0.0

    def add(self, units: int, seconds: float) -> None:
        newest = NEWEST if self.known else 1.0
        more, longer = units - self._units, seconds - self._seconds
        self._units += newest * more
        self._seconds += newest * longer
        self._spread = (1 - newest) * (self._spread + newest * more * more)
        self._together = (1 - newest) * (self._together + newest * more * longer)

    @property
    def known(self) -> bool:
        """Whether anything was measured; `unit_s`, `base_s` and `at` need that."""
        return self._units > 0

    @property
    def unit_s(self) -> float:
        mean = self._seconds / self._units
        if not self._spread:
            return self._unmeasured * mean
        return min(max(self._together / self._spread, self._least * mean), mean)

    @property
    def base_s(self) -> float:
        return self._seconds - self.unit_s * self._units

    def at(self, units: int) -> float:
        """Seconds that so many units would take."""
        return self.base_s + self.unit_s * units


# A smaller chunk costs more in overhead than it spares the decoding rows.
SMALLEST = 16
# Tokens of a chunk before anything was measured.
FIRST = 64
# A shorter wait goes unnoticed: readers get text in steps of this order.
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
    would leave no more than `scraps` tokens, it takes these too. At most `sequences` prompts may be prepared
    for the pass; None is any number.
    """

    tokens: int
    idle: int
    chunk: int | None = None
    sequences: int | None = None
    scraps: int = 0

    def within(self, tokens: int | None) -> "PassLimits":
        """The same where memory has room for no pass of more than so many tokens; None is any number."""
        if tokens is None:
            return self
        chunk = min(tokens, self.chunk or tokens)
        scraps = min(self.scraps, tokens - chunk)
        return replace(self, tokens=min(self.tokens, tokens), chunk=chunk, scraps=scraps)


class PrefillPace:
    """Measures steps and passes over prompts, and lets decoding rows wait for the time of `steps` steps.

    A step's time is estimated with all waiting rows in it: decoding rows will wait that long anyhow, and
    chunks sized for the few rows of now would be smaller, each reading all weights from memory once more.
    """

    def __init__(self, steps: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._steps = steps
        self._clock = clock
        self._step = LineFit(least=0.0, unmeasured=0.0)
        self._pass = LineFit(least=0.1, unmeasured=1.0)
        self._start = LineFit(least=0.1, unmeasured=1.0)
        self._prompt_tokens = 0.0
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

    def begun(self, prompts: int, tokens: int, seconds: float) -> None:
        """Record that so many prompts were prepared, and their new pictures encoded.

        `tokens` of them are not reused from earlier prompts.
        """
        newest = NEWEST if self._start.known else 1.0
        self._prompt_tokens += newest * (tokens / prompts - self._prompt_tokens)
        self._start.add(prompts, seconds)

    @property
    def prompt_s(self) -> float:
        """What one more prompt adds to the others' time; 0 while nothing was measured."""
        if not self._start.known or not self._pass.known:
            return 0.0
        return self._start.unit_s + self._prompt_tokens * self._pass.unit_s

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
        remaining_s = self._patience_s - (self._clock() - self._began)
        return round(max(SMALLEST, pass_s / token_s, (remaining_s - pass_s) / token_s))

    @property
    def _sequences(self) -> int:
        """Prompts that can be prepared in the time that decoding rows may still wait."""
        if not self._start.known:
            return 1
        remaining_s = self._patience_s - (self._clock() - self._began)
        return max(1, int((remaining_s - self._start.base_s) / self._start.unit_s))

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
        return PassLimits(self.chunk, idle, self.chunk, self._sequences, self._scraps)

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


# How many rows the batch may hold and how long they may become, given the memory for the KV cache.

log = logging.getLogger("worker.engines.continuous")
# The cache takes this part of the memory that is free once the model is loaded, unless `cache_mb` is set.
SHARE = 0.5
# The window makes a quarter more columns than are in use, and a growing layer's old and new memory coexist.
SLACK = 1.5
# Bytes of a cache without columns, whose rows keep recurrent states alone.
MODEST = 2 * 2**30


class BatchCapacity:
    """At most `rows` at once and `tokens` of cache; each row takes what the longest may come to need."""

    def __init__(self, rows: int, tokens: int) -> None:
        self.tokens = tokens
        self._rows = AdaptiveLimit(rows)

    @property
    def rows(self) -> int:
        return self._rows.now

    def admits(self, lengths: list[int]) -> bool:
        """Whether rows that may become this long fit beside each other; one alone always does."""
        if len(lengths) == 1:
            return True
        return len(lengths) <= self.rows and len(lengths) * max(lengths) <= self.tokens

    def shrink(self, rows: int) -> None:
        """Memory ran out beside more rows."""
        before = self.rows
        self._rows.shrink(rows)
        if self.rows < before:
            log.warning("rows are now %d of %d", self.rows, self._rows.most)

    def lasted(self, rows: int) -> None:
        """Memory lasted for a step of so many rows."""
        if self._rows.lasted(rows):
            log.info("rows are now %d of %d", self.rows, self._rows.most)


def cache_tokens(column_bytes: Mapping[torch.device, int], budget: int) -> int:
    """Tokens of cache that `budget` bytes hold."""
    return int(budget / SLACK) // max(1, sum(column_bytes.values()))


def cache_budget(column_bytes: Mapping[torch.device, int]) -> int:
    """Bytes for the cache, of what is free now; each device holds its layers' part: the fullest decides."""
    total = sum(column_bytes.values())
    parts = (int(SHARE * _free(device)) * total // own for device, own in column_bytes.items())
    return min(parts, default=MODEST)


def _free(device: torch.device) -> int:
    if device.type != "cuda":
        return free_memory_bytes(swap=False)
    # The driver counts as taken what torch keeps from loading and from the proof.
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]
