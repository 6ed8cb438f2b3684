"""Tells the record store what a process has counted since it last told.

The store keeps one sum of all processes, so that a total never falls when one of them leaves. A killed
process loses what it counted since it last told.
"""

import logging
import threading

from shared import ids
from shared.errors import Unavailable
from shared.metrics.readings import Readings
from shared.store.counts import MOST, count
from shared.store.script import Runs

log = logging.getLogger(__name__)
PAUSE_S = 2.0
"""Between two tellings: less than any scraper's pause, and half a millisecond of the store's time."""
LEAVE_S = 2.0
"""How long a stopping process tries to tell what it counted last."""


class Tally:
    """One process's counts on their way to the store. What could not be told is told later."""

    def __init__(self, store: Runs) -> None:
        self._store = store
        self._process = ids.token()
        self._number = 0
        self._readings = Readings()
        self._news: list[tuple[str, float]] = []
        self._full = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="tally", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Tell what was counted up to now, where the store is in reach."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(LEAVE_S)

    def tell(self) -> None:
        """Raises Unavailable: then the same news are told again, and still counted once."""
        if not self._news:
            self._news, self._number = self._readings.fresh(), self._number + 1
        if self._news:
            word = self._store.run(count(self._process, self._number, self._news))
            self._news = []
            if word == "full" and not self._full:
                self._full = True
                log.warning("the record store keeps no more than %d series of counts: new are lost", MOST)

    def _go_on(self) -> None:
        last = False
        while not last:
            last = self._stopping.wait(PAUSE_S)
            try:
                self.tell()
            except Unavailable as error:
                log.info("counts wait: %s", error.message)
            except Exception:
                # The outermost frame of this thread: the process works on, even if its counts are lost.
                log.exception("counts could not be told")
