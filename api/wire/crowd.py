"""How much is open at a process at once: connections in all, and each caller's share of them in requests."""

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Sized
from contextlib import AbstractContextManager, contextmanager

from api.wire.heads import Headers, has_body, path_of, without_slash
from shared.errors import Unavailable

log = logging.getLogger(__name__)

KEY = "sightline.crowd"
"""Of the state that the server hands to its connections, and of a request's scope."""
PROBES = frozenset(("/health", "/ready", "/metrics"))
"""What orchestrators and operators ask: no crowd may make a process look dead, or hide itself."""
PROBES_AT_ONCE = 64
"""Of those beyond what is served."""
AGAIN_S = 5
TOLD_EACH_S = 60.0


class Crowd:
    """One of a process, which serves `most` connections, or all."""

    def __init__(self, connections: Sized, most: int | None) -> None:
        self._connections = connections
        self._most = math.inf if most is None else most
        self._probes = set[object]()
        self._requests = Counter[str]()
        self._told_at = -TOLD_EACH_S

    def is_large(self, *, but: int = 0) -> bool:
        """Whether half of what is served is open, so many left out."""
        return 2 * (len(self._connections) - but) > self._most

    def refusal(self, connection: object, url: bytes, headers: Headers) -> Unavailable | None:
        """Why what is asked on a connection is not answered: it is one too many, and asks no probe.

        No probe has a body, which its sender could keep a place with.
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
        """Whether it is answered though it is one too many: it is to close then."""
        return connection in self._probes

    def leave(self, connection: object) -> None:
        self._probes.discard(connection)

    def place(self, caller: str) -> AbstractContextManager[None]:
        """For one request of this caller, while it is open. Raises Unavailable `caller_queue_full`.

        A caller opens no more than it leaves free: half, where it is the first, and the next a quarter. So
        streams that some leave open never cost the others the last connection. The rule is that of Choudhury
        and Hahne, "Dynamic queue length thresholds", IEEE/ACM Transactions on Networking 6 (2), 1998.
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
        """Tell operators who holds most, now and then; no metric names a caller."""
        now = time.monotonic()
        if now - self._told_at < TOLD_EACH_S:
            return
        self._told_at = now
        callers = ", ".join(f"{caller} {count}" for caller, count in self._requests.most_common(3))
        log.warning(
            "requests are refused for what is open: %d connections of %s; most requests by caller: %s",
            len(self._connections),
            self._most,
            callers or "none",
        )
