"""The last moments of a process that was asked to end: it keeps answering, and announces that it is leaving.

Load balancers learn of it by `GET /ready`, or by an answer's `Connection: close`. Closing the port at once
would lose the requests that a balancer is just sending on the connections it keeps.
"""

import asyncio
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

KEY = "shutdown"
"""Its key in the state that the application's lifespan hands to connections and requests."""
FAREWELL_S = 1.0
LATELY_S = 10.0
"""A process that had no request for this long ends at once: no balancer sends any here."""


class Shutdown:
    """One per process; `begun` once the process was asked to end."""

    def __init__(self) -> None:
        self.begun = False
        self._requested_at = -math.inf

    def note_request(self) -> None:
        self._requested_at = time.monotonic()

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """Within it SIGTERM begins the end, and the server's own handler runs FAREWELL_S later.

        SIGHUP, which log rotation or a closing terminal sends, does the same; under nohup it stays ignored.
        Nothing changes where the server does not handle SIGTERM, or handles it through the event loop, as
        servers other than uvicorn do.
        """
        end = signal.getsignal(signal.SIGTERM)
        by_loop = getattr(end, "__module__", None) == "asyncio.unix_events"
        if threading.current_thread() is not threading.main_thread() or not callable(end) or by_loop:
            yield
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._begin, partial(end, signal.SIGTERM, None))
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            loop.add_signal_handler(signal.SIGHUP, signal.raise_signal, signal.SIGTERM)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, end)

    def _begin(self, end: Callable[[], object]) -> None:
        lately = time.monotonic() - self._requested_at < LATELY_S
        wait_s = FAREWELL_S if lately and not self.begun else 0
        self.begun = True
        asyncio.get_running_loop().call_later(wait_s, end)
