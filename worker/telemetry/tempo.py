"""How many tokens a second a worker generates, as its record says."""

import time
from collections import deque
from collections.abc import Callable

from shared.metrics.attempts import GENERATED

SPAN_S = 10.0
"""The last seconds that count: long enough to be steady, short enough to show what is going on."""


def generated() -> float:
    """Tokens of this process so far."""
    return sum(
        sample.value
        for family in GENERATED.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


class Tempo:
    """Called repeatedly, by one thread only."""

    def __init__(
        self, count: Callable[[], float] = generated, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = count
        self._clock = clock
        self._marks = deque([(clock(), count())])

    def per_s(self) -> float:
        """Over the last `SPAN_S`, or since the beginning where that is later."""
        now, count = self._clock(), self._count()
        self._marks.append((now, count))
        while self._marks[1][0] <= now - SPAN_S:
            self._marks.popleft()
        since, before = self._marks[0]
        return (count - before) / (now - since) if now > since else 0.0
