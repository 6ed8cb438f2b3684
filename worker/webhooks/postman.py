"""Calls the webhooks that are due, in threads of their own: whatever hangs here holds up no pictures.

A call that is due is found by asking for it, so none depends on a message. A courier that dies with a call in
its hands leaves a lease behind; when that ends another makes the call again.
"""

import logging
import secrets
import threading
from urllib.parse import urlsplit

from shared import ids
from shared.errors import Unavailable
from shared.settings import Settings
from shared.store.hooks import Errand, deliver, kept, told
from shared.store.script import Store
from worker.webhooks.body import render
from worker.webhooks.post import Outcome, post

log = logging.getLogger(__name__)
AT_ONCE = 16
"""Calls at once. One host gets `shared.store.hooks.PER_HOST`, of all couriers together."""
LEAVE_S = 5.0
"""How long a stopping courier waits for the calls that it is making."""


class Postman:
    """Looks for due calls every `rescue_s`, and goes on while there are any."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_round, name="postman", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is not over by the end of `LEAVE_S` is another courier's."""
        self._stopping.set()
        self._thread.join()
        for _ in range(AT_ONCE):
            if not self._free.acquire(timeout=LEAVE_S):
                break

    def deliver(self, errand: Errand) -> Outcome | None:
        """Make one call and write down how it went; None where the job was deleted meanwhile.

        Raises Unavailable: the call is then made again when its lease ends.
        """
        body = errand.body or render(errand)
        if errand.body is None and self._store.run(kept(errand, body)) == "lost":
            return None
        outcome = post(errand, body, self._settings)
        delay_s = self._delay_s(errand, outcome)
        if not outcome.tried.taken and delay_s is None:
            log.error(
                "job %s: its webhook at %s is given up after %d calls: %s",
                errand.job.id,
                urlsplit(errand.url).hostname,
                errand.tries + 1,
                outcome.tried.error,
            )
        self._store.run(told(self._settings, errand, outcome.tried, delay_s=delay_s))
        return outcome

    def _delay_s(self, errand: Errand, outcome: Outcome) -> float | None:
        delays = self._settings.webhook.delays_s
        if outcome.tried.taken or outcome.tried.gone or errand.tries >= len(delays):
            return None
        # Many that failed together are not to come back together.
        chance = 1 + secrets.randbelow(101) / 1000
        return max(delays[errand.tries] * chance, outcome.retry_after_s)

    def _go_round(self) -> None:
        pause_s = self._settings.queue.rescue_s
        while not self._stopping.is_set():
            if not self._free.acquire(timeout=pause_s):
                continue
            errand = self._taken()
            if errand is None:
                self._free.release()
                self._stopping.wait(pause_s)
            else:
                threading.Thread(target=self._go, args=(errand,), name="webhook", daemon=True).start()

    def _taken(self) -> Errand | None:
        try:
            return self._store.run(deliver(self._settings, ids.token()))
        except Unavailable:
            log.warning("webhooks wait: the store is out of reach")
        except Exception:
            # The outermost frame of a round: a bad record must not end all deliveries.
            log.exception("no call could be taken")
        return None

    def _go(self, errand: Errand) -> None:
        try:
            self.deliver(errand)
        except Unavailable:
            log.warning(
                "job %s: its webhook's call could not be written down, and is made again", errand.job.id
            )
        except Exception:
            # The outermost frame of a call: its lease brings it again.
            log.exception("job %s: its webhook could not be called", errand.job.id)
        finally:
            self._free.release()
