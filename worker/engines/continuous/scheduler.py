"""Which waiting answer's prompt is prepared next; how many rows fit, `token_budget.py` decides."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence

from worker.engines.continuous.prefill_queue import PrefillQueue
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.sequence import TokenSequence
from worker.engines.continuous.token_budget import BatchCapacity, PassLimits
from worker.engines.progress import ProgressClock


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
            while place and _later(self._waiting[place - 1], arrived):
                place -= 1
            for answer in reversed(answers):
                self._waiting.insert(place, answer)
            self._changed.notify()

    def put_back(self, answers: Iterable[TokenSequence]) -> None:
        """Put the answers, in their order, before all others."""
        with self._changed:
            self._waiting.extendleft(reversed(list(answers)))

    def put_behind_suspects(self, answer: TokenSequence) -> None:
        """Put it behind the last answer that was in a failed step."""
        with self._changed:
            last = max((at for at, one in enumerate(self._waiting) if one.failed_steps), default=-1)
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

    def head(self) -> TokenSequence | None:
        with self._changed:
            return self._waiting[0] if self._waiting else None

    def take(self, answer: TokenSequence) -> bool:
        """Take it if it is still the first: somebody who arrived earlier may have joined since."""
        with self._changed:
            first = bool(self._waiting) and self._waiting[0] is answer
            if first:
                self._waiting.popleft()
            return first

    def take_cancelled(self) -> list[TokenSequence]:
        with self._changed:
            cancelled = [answer for answer in self._waiting if answer.cancelled]
            if cancelled:
                self._waiting = deque(answer for answer in self._waiting if answer not in cancelled)
            return cancelled

    def take_all(self) -> list[TokenSequence]:
        with self._changed:
            answers = list(self._waiting)
            self._waiting.clear()
            return answers

    def wait(self) -> bool:
        """Block until an answer waits here; False once the line is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return not self._closed

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()


def _later(answer: TokenSequence, arrived: float) -> bool:
    """Whether it arrived after that time; what was put back keeps its place."""
    return answer.row.arrived > arrived and not answer.begun


# Chooses which waiting answers have their prompts prepared now.


class PrefillAdmission:
    """First come, first served, so that a long prompt is not overtaken for ever."""

    def __init__(self, capacity: BatchCapacity, reuse: ReuseCache, prefilling: PrefillQueue) -> None:
        self._capacity = capacity
        self._reuse = reuse
        self._prefilling = prefilling

    def next(
        self, waiting: Iterable[TokenSequence], running: Sequence[TokenSequence], limits: PassLimits
    ) -> list[TokenSequence]:
        """The first answers in line, as many as the next pass can use."""
        chosen: list[TokenSequence] = []
        for answer in waiting:
            beside = [*self._prefilling.answers, *chosen]
            if not self.admits(answer, [*running, *beside]) or (beside and not self._joins(answer, beside)):
                break
            if chosen and len(chosen) == limits.sequences:
                break
            if self._prefilling.tokens + sum(other.row.prompt.tokens for other in chosen) >= limits.tokens:
                break
            chosen.append(answer)
        return chosen

    def admits(self, answer: TokenSequence, others: Sequence[TokenSequence]) -> bool:
        """Whether the batch has room for the answer beside the others."""
        if any(other.alone for other in others) or (answer.alone and others):
            return False
        if any(one.beside is not None and len(others) > one.beside for one in [answer, *others]):
            return False
        return self._capacity.admits([other.length for other in [*others, answer]])

    def _joins(self, answer: TokenSequence, beside: Sequence[TokenSequence]) -> bool:
        """Whether its prompt may be computed with theirs; False if it can reuse theirs once they are done."""
        if self._prefilling.rows == 1 or any(other.apart for other in [answer, *beside]):
            return False
        forked = self._prefilling.forked
        if forked is not None and forked.siblings is answer.siblings:
            return False
        if any(other.siblings is answer.siblings for other in beside):
            return False
        return not self._reuse.follows(answer.content, [other.content for other in beside])


# Counts the answers that task threads wait for, to start and stop the engine's progress.


class PendingCount:
    """While there are any, the progress has to tick. Any thread may call it."""

    def __init__(self, progress: ProgressClock) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._count = 0

    def come(self, count: int) -> None:
        with self._lock:
            if not self._count:
                self._progress.start()
            self._count += count

    def end(self) -> None:
        """Count one less, before the answer is handed over: its reader may look at it right then."""
        with self._lock:
            self._count -= 1
            if not self._count:
                self._progress.rest()
