"""Limits how many requests a process has open at once: in all, and of each caller."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from shared.errors import Unavailable
from shared.log_throttle import LogThrottle

log = logging.getLogger("api.server")

MOST = 2000
"""Requests of one process; a stream or a wait is one for as long as it lasts."""
AGAIN_S = 5


class RequestLimit:
    """One per process. Probes and metrics are not counted: a busy process neither looks dead nor hides."""

    def __init__(self) -> None:
        self._requests = Counter[str]()
        self._refusals = LogThrottle()

    def place(self, caller: str, *, shares: bool = True) -> AbstractContextManager[None]:
        """Counts one request of this caller while it is open.

        Raises Unavailable `caller_queue_full` or `queue_full`. With `shares` a caller may have no more open
        than stays free: the first up to half, the next a quarter. So streams that some callers leave open
        never cost others the last place. The rule is from Choudhury and Hahne, "Dynamic queue
        length thresholds", IEEE/ACM Transactions on Networking 6 (2), 1998.
        """
        own, free = self._requests[caller], MOST - self._requests.total()
        if own + 1 > free if shares else not free:
            self._log()
            if not shares:
                raise Unavailable("queue_full", "Too many requests are open.", retry_after=1)
            message = f"You have {own:,} requests open here, your share: end streams and waits, or poll."
            raise Unavailable("caller_queue_full", message, retry_after=AGAIN_S)
        return self._placed(caller)

    @contextmanager
    def _placed(self, caller: str) -> Iterator[None]:
        self._requests[caller] += 1
        try:
            yield
        finally:
            self._requests[caller] -= 1
            if not self._requests[caller]:
                del self._requests[caller]

    def _log(self) -> None:
        """Who holds most, once a minute at most; no metric names a caller."""
        if self._refusals.due():
            callers = ", ".join(f"{caller} {count}" for caller, count in self._requests.most_common(3))
            log.warning(
                "requests are refused for what is open: %d of %s; most requests by caller: %s",
                self._requests.total(),
                MOST,
                callers or "none",
            )
