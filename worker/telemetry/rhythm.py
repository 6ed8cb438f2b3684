"""Measures when the tokens of one answer come."""

import time

from shared.metrics.attempts import FIRST_TOKEN, GENERATED, INTER_TOKEN
from worker.lease import Lease


class Rhythm:
    """Called by the engine's thread for each piece, so its series are looked up once, before."""

    def __init__(self, lease: Lease, choice: int | None) -> None:
        model = lease.claim.model
        self._lease = lease
        # The answers to one prompt begin together: the first stands for all.
        self._first = FIRST_TOKEN.labels(model) if not choice and lease.claim.attempt == 1 else None
        self._inter = INTER_TOKEN.labels(model)
        self._generated = GENERATED.labels(model)
        self._last: float | None = None

    def came(self, tokens: int) -> None:
        """Some tokens, at least one."""
        now = time.monotonic()
        if self._last is not None:
            self._inter.observe((now - self._last) / tokens)
        elif self._first is not None:
            self._first.observe(self._lease.age_s)
        self._generated.inc(tokens)
        self._last = now
