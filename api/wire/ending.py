"""The last moments of a process that was told to end: it answers on, and says to everybody that it goes.

Whoever sends requests here learns of it by `GET /ready`, or by an answer's `Connection: close`. A port that
closed at once would cost what a balancer is just sending on the connections that it keeps.
"""

import asyncio
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

KEY = "ending"
"""Of the state that the application's lifespan hands to connections and requests."""
FAREWELL_S = 1.0
LATELY_S = 10.0
"""Who has not been asked anything for so long ends at once: no balancer sends requests here."""


class Ending:
    """One of a process; `begun` once it was told to end."""

    def __init__(self) -> None:
        self.begun = False
        self._asked_at = -math.inf

    def note_request(self) -> None:
        self._asked_at = time.monotonic()

    @contextmanager
    def told_by_signal(self) -> Iterator[None]:
        """Meanwhile SIGTERM begins the end, and what the server does on that comes FAREWELL_S later.

        A second one, or Ctrl-C, ends it at once. Nothing is changed where the server does not hear SIGTERM,
        or by the loop and not by a handler, as others than uvicorn do.
        """
        end = signal.getsignal(signal.SIGTERM)
        by_loop = getattr(end, "__module__", None) == "asyncio.unix_events"
        if threading.current_thread() is not threading.main_thread() or not callable(end) or by_loop:
            yield
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._begin, partial(end, signal.SIGTERM, None))
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, end)

    def _begin(self, end: Callable[[], object]) -> None:
        lately = time.monotonic() - self._asked_at < LATELY_S
        wait_s = FAREWELL_S if lately and not self.begun else 0
        self.begun = True
        asyncio.get_running_loop().call_later(wait_s, end)
