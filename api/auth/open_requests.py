"""Limits how many requests one process has open, and how many of them are one caller's."""

import logging
from collections import Counter
from contextlib import AbstractContextManager

from shared.errors import Unavailable
from shared.log_throttle import LogThrottle

log = logging.getLogger("api.server")

AGAIN_S = 5


class _Place(AbstractContextManager[None]):
    def __init__(self, requests: Counter[str], caller: str) -> None:
        self._requests = requests
        self._caller = caller

    def __enter__(self) -> None:
        self._requests[self._caller] += 1

    def __exit__(self, *_: object) -> None:
        self._requests[self._caller] -= 1
        if not self._requests[self._caller]:
            del self._requests[self._caller]


class RequestLimit:
    """One per process. Probes and metrics are not counted: a busy process neither looks dead nor hides.

    Of `most` requests a stream or a wait is one for as long as it lasts.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._requests = Counter[str]()
        self._refusals = LogThrottle()

    def place(self, caller: str, *, shares: bool = True) -> AbstractContextManager[None]:
        """Counts one request of this caller while it is open.

        Raises Unavailable `caller_queue_full` or `queue_full`. With `shares` a caller may have no more open
        than stays free: the first up to half, the next a quarter. So streams that some callers leave open
        never cost others the last place. The rule is from Choudhury and Hahne, "Dynamic queue
        length thresholds", IEEE/ACM Transactions on Networking 6 (2), 1998.
        """
        own, free = self._requests[caller], self._most - self._requests.total()
        if own + 1 > free if shares else not free:
            self._log()
            if not shares:
                message = f"{self._most:,} requests are open already (SIGHTLINE_API__MAX_OPEN)."
                raise Unavailable("queue_full", message, retry_after=1)
            message = f"You have {own:,} requests open here, your share of SIGHTLINE_API__MAX_OPEN."
            raise Unavailable("caller_queue_full", message, retry_after=AGAIN_S)
        return _Place(self._requests, caller)

    def _log(self) -> None:
        """Who holds most, once a minute at most; no metric names a caller."""
        if self._refusals.due():
            callers = ", ".join(f"{caller} {count}" for caller, count in self._requests.most_common(3))
            log.warning(
                "requests are refused for what is open: %d of %s; most requests by caller: %s",
                self._requests.total(),
                self._most,
                callers or "none",
            )
