"""Measures the latency of each answer's tokens, and a worker's tokens per second."""

import time
from collections import deque
from collections.abc import Callable

from shared.metrics.worker_counters import FIRST_TOKEN, GENERATED, INTER_TOKEN
from worker.lease import Lease

SPAN_S = 10.0
"""The last seconds that count for tokens per second: long enough to be steady, short enough to be current."""


class TokenLatency:
    """The times between the tokens of one answer.

    Called by the engine's thread for each piece, so its series are looked up once, before.
    """

    def __init__(self, lease: Lease, choice: int | None) -> None:
        model = lease.claim.model
        self._lease = lease
        # The answers to one prompt begin together: the first stands for all.
        self._first_token = FIRST_TOKEN.labels(model) if not choice and lease.claim.attempt == 1 else None
        self._inter = INTER_TOKEN.labels(model)
        self._generated = GENERATED.labels(model)
        self._last_at: float | None = None

    def record(self, tokens: int) -> None:
        """`tokens`, at least one, came now."""
        now = time.monotonic()
        if self._last_at is not None:
            self._inter.observe((now - self._last_at) / tokens)
        elif self._first_token is not None:
            self._first_token.observe(self._lease.age_s)
        self._generated.inc(tokens)
        self._last_at = now


class Throughput:
    """Tokens per second of this process; called repeatedly, by one thread only."""

    def __init__(
        self, count: Callable[[], float] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        count = count or _tokens
        self._count = count
        self._clock = clock
        self._marks = deque([(clock(), count())])

    def per_s(self) -> float:
        """Over the last `SPAN_S`, or since the beginning if that is later."""
        now, count = self._clock(), self._count()
        self._marks.append((now, count))
        while self._marks[1][0] <= now - SPAN_S:
            self._marks.popleft()
        since, before = self._marks[0]
        return (count - before) / (now - since) if now > since else 0.0


def _tokens() -> float:
    return sum(
        sample.value
        for family in GENERATED.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )
