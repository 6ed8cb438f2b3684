"""Limits what a process has open at once: connections in all, and requests of each caller."""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sized
from contextlib import AbstractContextManager, contextmanager

from api.server.request_head import Headers, has_body, path_of, without_slash
from shared.errors import Unavailable
from shared.log_throttle import Seldom

log = logging.getLogger("api.server")

KEY = "sightline.connection_limit"
"""The limit's key in the state that the server hands to its connections, and in a request's scope."""
PROBES = frozenset(("/health", "/ready", "/metrics"))
"""Paths that orchestrators and operators ask, answered in any crowd: a busy process neither looks dead nor
hides."""
PROBES_AT_ONCE = 64
"""Connections beyond the limit that may ask these paths."""
AGAIN_S = 5


class ConnectionLimit:
    """One per process, which serves `most` connections at once, or any number where that is None."""

    def __init__(self, connections: Sized, most: int | None) -> None:
        self._connections = connections
        self._most = math.inf if most is None else most
        self._probes = set[object]()
        self._requests = Counter[str]()
        self._refusing = Seldom()

    def is_large(self, *, but: int = 0) -> bool:
        """Whether more than half of `most` connections are open, not counting `but` of them."""
        return 2 * (len(self._connections) - but) > self._most

    def refusal(self, connection: object, url: bytes, headers: Headers) -> Unavailable | None:
        """Why a request is refused: its connection is one too many, and it is no probe.

        A request with a body is no probe: its sender could hold the place for as long as it is sending.
        """
        if len(self._connections) <= self._most:
            return None
        probes = without_slash(path_of(url)) in PROBES and not has_body(headers)
        if probes and len(self._probes | {connection}) <= PROBES_AT_ONCE:
            self._probes.add(connection)
            return None
        self._tell()
        return Unavailable("queue_full", "Too many connections are open.", retry_after=1)

    def is_beyond(self, connection: object) -> bool:
        """Whether the connection is over the limit and serves a probe; it closes after the answer."""
        return connection in self._probes

    def leave(self, connection: object) -> None:
        self._probes.discard(connection)

    def place(self, caller: str) -> AbstractContextManager[None]:
        """Counts one request of this caller while it is open. Raises Unavailable `caller_queue_full`.

        A caller may have no more open than stays free: the first up to half, the next a quarter. So streams
        that some callers leave open never cost others the last connection. The rule is from Choudhury and
        Hahne, "Dynamic queue length thresholds", IEEE/ACM Transactions on Networking 6 (2), 1998.
        """
        own = self._requests[caller]
        if own + 1 > self._most - self._requests.total():
            self._tell()
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

    def _tell(self) -> None:
        """Log who holds most, once a minute at most; no metric names a caller."""
        if not self._refusing.due():
            return
        callers = ", ".join(f"{caller} {count}" for caller, count in self._requests.most_common(3))
        log.warning(
            "requests are refused for what is open: %d connections of %s; most requests by caller: %s",
            len(self._connections),
            self._most,
            callers or "none",
        )
