"""The answers that wait for a place in the batch."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence

from worker.engines.continuous.answer import Answer


class WaitingLine:
    """First come, first served; answers that are put back go to the front. Any thread may call `join`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Answer] = deque()
        self._closed = False

    def join(self, answers: Sequence[Answer]) -> None:
        """The answers to one prompt, behind what arrived before it; preparing it may have taken longer."""
        arrived = answers[0].row.arrived
        with self._changed:
            place = len(self._waiting)
            while place and _later(self._waiting[place - 1], arrived):
                place -= 1
            for answer in reversed(answers):
                self._waiting.insert(place, answer)
            self._changed.notify()

    def put_back(self, answers: Iterable[Answer]) -> None:
        """Put the answers, in their order, before all others."""
        with self._changed:
            self._waiting.extendleft(reversed(list(answers)))

    def put_behind_suspects(self, answer: Answer) -> None:
        """Put it behind the last answer that was in a failed step."""
        with self._changed:
            last = max((at for at, one in enumerate(self._waiting) if one.failed_steps), default=-1)
            self._waiting.insert(last + 1, answer)

    def leave(self, answer: Answer) -> None:
        with self._changed:
            if answer in self._waiting:
                self._waiting.remove(answer)

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> list[Answer]:
        with self._changed:
            return list(self._waiting)

    def head(self) -> Answer | None:
        with self._changed:
            return self._waiting[0] if self._waiting else None

    def take(self, answer: Answer) -> bool:
        """Take it if it is still the first: somebody who arrived earlier may have joined since."""
        with self._changed:
            first = bool(self._waiting) and self._waiting[0] is answer
            if first:
                self._waiting.popleft()
            return first

    def take_cancelled(self) -> list[Answer]:
        with self._changed:
            gone = [answer for answer in self._waiting if answer.cancelled]
            if gone:
                self._waiting = deque(answer for answer in self._waiting if answer not in gone)
            return gone

    def take_all(self) -> list[Answer]:
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


def _later(answer: Answer, arrived: float) -> bool:
    """Whether it arrived after that time; what was put back keeps its place."""
    return answer.row.arrived > arrived and not answer.begun
