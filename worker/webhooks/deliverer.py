"""Calls the webhooks that are due, in threads of their own, so that a call that hangs delays no fetches.

Due calls are found by polling, so none depends on a message. If a courier dies during a call, the call's
lease ends, and another courier makes the call again.
"""

import logging
import secrets
import threading
import time
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from shared import ids
from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.job import Delivery
from shared.metrics.counters import CALL_SECONDS, CALLS
from shared.settings import Settings
from shared.store.files import delete_blob
from shared.store.jobs import purge
from shared.store.script import Store
from shared.store.webhook_deliveries import DueDelivery, delivery_result, next_delivery
from shared.telemetry import traces
from shared.telemetry.logs import about, fields
from shared.webhooks import body_of
from worker.webhooks.post import Outcome, post

log = logging.getLogger("worker.webhooks")
MAX_CALLS = 16
"""Calls at once. A caller's host gets at most `webhook_deliveries.PER_HOST` from all couriers together."""


class Deliverer:
    """Looks for due calls every `rescue_s`, and at once while there are any."""

    def __init__(self, settings: Settings, store: Store, blobs: Blobs) -> None:
        self._settings = settings
        self._store = store
        self._blobs = blobs
        self._free = MAX_CALLS
        self._ended = 0
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._patience_till = 0.0
        self._thread = threading.Thread(target=self._loop, name="deliverer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def drain(self) -> None:
        """Make no more calls; those in progress have `drain_s`."""
        if not self._stopping.is_set():
            self._patience_till = time.monotonic() + self._settings.queue.drain_s
            self._stopping.set()

    def stop(self) -> None:
        """Wait for the calls in progress; another courier makes those again that do not end in time."""
        self.drain()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            left_s = max(0, self._patience_till - time.monotonic())
            self._changed.wait_for(lambda: self._free == MAX_CALLS, left_s)
            if lost := MAX_CALLS - self._free:
                log.warning("webhooks cut off by this courier's end, and called again: %d", lost)

    def deliver(self, due: DueDelivery) -> Outcome | None:
        """Make one call and record how it went; None if the job was deleted meanwhile, or the lease lost.

        Raises Unavailable: the call is then made again when its lease ends.
        """
        outcome = self._traced_call(due, body_of(due.notice))
        delay_s = self._delay_s(due, outcome)
        status = self._store.run(delivery_result(self._settings, due, outcome.tried, delay_s=delay_s))
        if status == "lost":
            # Perhaps not the lease, but the reply to a first report.
            self._purge(due)
            return None
        again = delay_s is not None or status == "moved"
        _count(outcome.tried, again=again)
        if not outcome.tried.taken and not again:
            log.error(
                "%s: the webhook at %s is given up after %d calls: %s",
                due.notice.subject,
                urlsplit(due.url).hostname,
                due.tries + 1,
                outcome.tried.error,
            )
        if status == "forget":
            self._purge(due)
        return outcome

    def _traced_call(self, due: DueDelivery, body: str) -> Outcome:
        """One call, logged, and traced in the trace of the job that it reports."""
        notice, host = due.notice, urlsplit(due.url).hostname or ""
        attributes: traces.Attributes = {"server.address": host, "sightline.subject": notice.subject}
        with (
            about(request_id=notice.request_id),
            traces.span("webhook", attributes, kind=SpanKind.CLIENT, carrier=notice.trace) as span,
            about(trace_id=traces.trace_id()),
        ):
            outcome = self._post(due, body)
            tried = outcome.tried
            if tried.status is not None:
                span.set_attributes({"http.response.status_code": tried.status})
            if not tried.taken:
                traces.fail(span, "refused" if tried.status else "unreached")
            _log(due, host, tried)
        return outcome

    def _post(self, due: DueDelivery, body: str) -> Outcome:
        try:
            return post(due, body, self._settings)
        except Exception:
            # The outermost frame of a call: a failure that is not counted would be repeated forever.
            log.exception("%s: a webhook could not be called", due.notice.subject)
            at_ms = round(time.time() * 1000)
            error, attempt = "the call could not be made", due.tries + 1
            return Outcome(Delivery(due.notice.type, at_ms, 0, error=error, attempt=attempt))

    def _purge(self, due: DueDelivery) -> None:
        """Delete a job that is not to be stored. If this fails, it expires later."""
        call = purge(self._settings, due.caller, due.notice.subject, delivered=True)
        for name in self._store.run(call) or ():
            delete_blob(self._store, self._blobs, name)

    def _delay_s(self, due: DueDelivery, outcome: Outcome) -> float | None:
        delays = self._settings.webhook.delays_s
        if outcome.tried.taken or outcome.tried.gone or due.tries >= len(delays):
            return None
        # Spread retries, so that calls that failed together do not come back together.
        spread = 1 + secrets.randbelow(101) / 1000
        return max(delays[due.tries] * spread, outcome.retry_after_s)

    def _loop(self) -> None:
        pause_s = self._settings.queue.rescue_s
        while not self._stopping.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._free or self._stopping.is_set(), pause_s)
                free, ended = self._free, self._ended
            due = self._next_due(free) if free else None
            if due is None or not self._start_call(due):
                self._wait_for_end(ended, pause_s)

    def _wait_for_end(self, ended: int, pause_s: float) -> None:
        """Wait until more calls than `ended` have ended: then a host may be called again."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended != ended or self._stopping.is_set(), pause_s)

    def _next_due(self, free: int) -> DueDelivery | None:
        try:
            while (due := self._store.run(next_delivery(self._settings, ids.token(), free))) == "again":
                if self._stopping.is_set():
                    return None
            return due
        except Unavailable as error:
            log.warning("webhooks wait: %s", error.message)
        except Exception:
            # The outermost frame of a round: a bad record must not end all deliveries.
            log.exception("no call could be taken")
        return None

    def _start_call(self, due: DueDelivery) -> bool:
        """Whether a thread makes the call; if none starts, the call comes again after its lease."""
        thread = threading.Thread(target=self._call, args=(due,), name="webhook", daemon=True)
        with self._changed:
            self._free -= 1
        try:
            thread.start()
        except RuntimeError:
            log.exception("%s: there is no thread for a call of a webhook", due.notice.subject)
            with self._changed:
                self._free += 1
            return False
        return True

    def _call(self, due: DueDelivery) -> None:
        try:
            self.deliver(due)
        except Unavailable:
            log.warning(
                "%s: a webhook's call could not be written down, and is made again", due.notice.subject
            )
        except Exception:
            # The outermost frame of this thread: the call comes again after its lease.
            log.exception("%s: a call of a webhook was lost", due.notice.subject)
        finally:
            with self._changed:
                self._free, self._ended = self._free + 1, self._ended + 1
                self._changed.notify_all()


def _count(tried: Delivery, *, again: bool) -> None:
    if tried.taken or again:
        CALLS.labels("taken" if tried.taken else "retried").inc()
    else:
        CALLS.labels("gone" if tried.gone else "given_up").inc()
    CALL_SECONDS.observe(tried.took_ms / 1000)


def _log(due: DueDelivery, host: str, tried: Delivery) -> None:
    log.info(
        "webhook called",
        extra=fields(
            subject=due.notice.subject,
            event=tried.event,
            caller=due.caller,
            host=host,
            attempt=due.tries + 1,
            outcome="taken" if tried.taken else "failed",
            status=tried.status,
            ms=tried.took_ms,
            error=tried.error,
        ),
    )
