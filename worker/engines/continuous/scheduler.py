"""Which waiting answer is computed next, how many rows fit, and how much of their prompts a step takes."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from worker.engines.continuous.sequence import TokenSequence

log = logging.getLogger("worker.engines.continuous")
# Steps for which memory must last before one row more is tried.
PATIENCE = 64
# A smaller chunk costs more in overhead than it spares the decoding rows.
SMALLEST = 16
# Tokens of a chunk before anything was measured.
FIRST = 64
# A shorter wait goes unnoticed: readers get text in steps of this order.
UNNOTICED_S = 0.05
# Prompts may share a pass of up to this many tokens in any model.
ENOUGH = 256
# So many tokens keep any device busy; more would only take more memory.
MOST = 4096
# After this many steps with prompts one goes without, so that both keep being measured by themselves.
OFTEN = 8
# Weight of the newest measurement.
NEWEST = 0.2


class WaitingQueue:
    """First come, first served; answers that are put back go to the front. Any thread may call `join`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[TokenSequence] = deque()
        self._closed = False

    def join(self, answers: Sequence[TokenSequence]) -> None:
        """The answers to one prompt, behind what arrived before it; preparing it may have taken longer."""
        arrived = answers[0].row.arrived
        with self._changed:
            place = len(self._waiting)
            # What was put back keeps its place.
            while place and not (last := self._waiting[place - 1]).begun and last.row.arrived > arrived:
                place -= 1
            for answer in reversed(answers):
                self._waiting.insert(place, answer)
            self._changed.notify()

    def put_back(self, answers: Iterable[TokenSequence]) -> None:
        with self._changed:
            self._waiting.extendleft(reversed(list(answers)))

    def put_behind_suspects(self, answer: TokenSequence) -> None:
        """Put it behind the last answer that has to run alone."""
        with self._changed:
            last = max((at for at, one in enumerate(self._waiting) if one.alone), default=-1)
            self._waiting.insert(last + 1, answer)

    def leave(self, answer: TokenSequence) -> None:
        with self._changed:
            if answer in self._waiting:
                self._waiting.remove(answer)

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> list[TokenSequence]:
        with self._changed:
            return list(self._waiting)

    def take(self, answer: TokenSequence) -> bool:
        """Take it if it is still the first: somebody who arrived earlier may have joined since."""
        with self._changed:
            first = bool(self._waiting) and self._waiting[0] is answer
            if first:
                self._waiting.popleft()
            return first

    def wait(self) -> bool:
        """Block until an answer waits here; False once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return not self._closed

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()


class BatchCapacity:
    """At most `rows` at once and `tokens` of cache; each row takes what the longest may come to need."""

    def __init__(self, rows: int, tokens: int) -> None:
        self.rows, self.tokens = rows, tokens
        self._most, self._well = rows, PATIENCE

    def admits(self, answer: TokenSequence, others: Sequence[TokenSequence]) -> bool:
        """Whether the answer fits beside the others; one alone always does."""
        if not others:
            return True
        lengths = [other.length for other in [*others, answer]]
        alone = any(other.alone for other in [*others, answer])
        return not alone and len(lengths) <= self.rows and len(lengths) * max(lengths) <= self.tokens

    def ran_out(self, rows: int, *, spared: bool) -> None:
        """Memory ran out with one row more. What was `spared` instead has to be enough for a while."""
        again, self._well = self._well < PATIENCE, 0
        if rows and (again or not spared):
            self.rows = min(self.rows, rows)
            log.warning("rows are now %d of %d", self.rows, self._most)

    def lasted(self) -> None:
        """Memory lasted for a step in which each row came to a new token."""
        self._well += 1
        if self._well >= PATIENCE and self.rows < self._most:
            self.rows, self._well = self.rows + 1, 0


class LineFit:
    """The time of a computation: a fixed part and one per unit. The newest measurements weigh most."""

    def __init__(self, *, unmeasured: float) -> None:
        """While all are of one number of units, a unit's time is `unmeasured` times the mean per unit."""
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
        return self._units > 0

    @property
    def unit_s(self) -> float:
        """At least a tenth of the mean per unit. 0 while nothing is known."""
        mean = self._seconds / self._units if self.known else 0.0
        if not self._spread:
            return self._unmeasured * mean
        return min(max(self._together / self._spread, mean / 10), mean)

    def at(self, units: float) -> float:
        """Seconds that so many units would take."""
        return self._seconds + self.unit_s * (units - self._units)


class Pace:
    """Lets decoding rows wait for prompts for the time of so many `steps`, or UNNOTICED_S if that is more.

    A step's time is that with all waiting rows in it: decoding rows will wait that long anyhow, and chunks
    sized for the few rows of now would be smaller, each reading all weights from memory once more.
    """

    def __init__(self, steps: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._steps = steps
        self._step, self._pass = LineFit(unmeasured=0.0), LineFit(unmeasured=1.0)
        self._begin_s = self._prompt_tokens = 0.0
        self._began, self._rows = clock(), 0
        self._mixed = 0

    def turn(self, rows: int) -> None:
        """A turn begins, and decoding rows wait from now on; `rows` will decode once all have joined."""
        self._began, self._rows = self.clock(), rows

    def stepped(self, rows: int, seconds: float) -> None:
        self._step.add(rows, seconds)
        self._mixed = 0

    def computed(self, tokens: int, seconds: float) -> None:
        """Record a pass over so many tokens of prompts alone."""
        self._pass.add(tokens, seconds)

    def begun(self, seconds: float) -> None:
        """Record that a prompt was prepared, and its media encoded."""
        self._begin_s += (NEWEST if self._begin_s else 1.0) * (seconds - self._begin_s)

    def arrived(self, tokens: int) -> None:
        """Record that a prompt is complete of which so many tokens were computed."""
        self._prompt_tokens += (NEWEST if self._prompt_tokens else 1.0) * (tokens - self._prompt_tokens)

    @property
    def prompt_s(self) -> float:
        """What one more prompt adds to the others' time, of late; 0 while nothing was measured."""
        return self._begin_s + self._prompt_tokens * self._pass.unit_s

    def mixes(self) -> bool:
        """Whether the next step may carry prompts: what was measured without them still holds."""
        self._mixed += 1
        return self._mixed < OFTEN and self._pass.known and self._step.known

    def separate(self) -> None:
        self._mixed = OFTEN

    @property
    def over(self) -> bool:
        """Whether decoding rows have waited long enough in this turn."""
        return self._left_s <= 0

    @property
    def enough(self) -> int:
        """A pass of so many tokens gains little by another prompt, while its first one waits for that."""
        return min(MOST, max(ENOUGH, 4 * self._fixed))

    @property
    def tokens(self) -> int:
        """Tokens of prompts that can be computed in the time that decoding rows may still wait.

        No fewer than cost as much as a pass does in any case.
        """
        if not self._pass.known:
            return FIRST
        left = round((self._left_s - self._pass.at(0)) / self._pass.unit_s)
        return min(MOST, max(SMALLEST, self._fixed, left))

    @property
    def _fixed(self) -> int:
        """Tokens that cost as much as a pass does in any case."""
        return round(self._pass.at(0) / self._pass.unit_s) if self._pass.known else FIRST

    @property
    def _left_s(self) -> float:
        step_s = self._step.at(self._rows) if self._step.known else 0.0
        return max(UNNOTICED_S, self._steps * step_s) - (self.clock() - self._began)
