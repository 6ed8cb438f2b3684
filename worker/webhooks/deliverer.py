"""Calls the webhooks that are due, in threads of their own, so that a call that hangs delays no fetches."""

import logging
import secrets
import time
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from shared.job import Delivery
from shared.metrics.courier_counters import CALL_SECONDS, CALLS
from shared.store.claims import give_back
from shared.store.files import delete_blob
from shared.store.jobs import purge
from shared.store.keys import HOOK
from shared.store.webhook_deliveries import DueDelivery, delivery, end_delivery, postpone_delivery
from shared.telemetry import traces
from shared.telemetry.logs import about, fields
from shared.webhooks import body_of
from worker.courier_lane import CourierLane
from worker.lease import Lease
from worker.webhooks.post import Outcome, post

log = logging.getLogger("worker.webhooks")
MAX_CALLS = 32
"""Calls of one courier at once: more than any caller may have of them (`functions/fair_queue.lua`)."""


@dataclass(frozen=True)
class Deliverer(CourierLane):
    """One call an attempt. A call that failed is put off, for longer each time, and given up at last."""

    lane: ClassVar[str] = HOOK

    def _attempt(self, lease: Lease) -> None:
        due = self.store.run(delivery(lease.claim))
        if due is None:
            self._write(lease, end_delivery(self.settings, lease.claim))
            return
        outcome = self._traced_call(due, lease)
        if lease.reason == "draining" and not outcome.tried.taken:
            # That says nothing about the receiver.
            log.warning(
                "%s: a webhook's call is cut off by this courier's end, and made again", due.notice.subject
            )
            self._write(lease, give_back(self.settings, lease.claim, reason="worker_draining", error=None))
            return
        self._report(lease, due, outcome)

    def _report(self, lease: Lease, due: DueDelivery, outcome: Outcome) -> None:
        tried, delay_s = outcome.tried, self._delay_s(due, outcome)
        if delay_s is not None:
            if self._write(lease, postpone_delivery(self.settings, due, tried, delay_s)):
                _count(tried, again=True)
            return
        ended = self._write(lease, end_delivery(self.settings, due.claim, due, tried))
        if ended in ("forget", "lost"):
            # Perhaps not the claim was lost, but the reply to a first report.
            self._purge(due)
        if ended in ("settled", "forget", "moved"):
            _count(tried, again=ended == "moved")
        if ended in ("settled", "forget") and not tried.taken:
            log.error(
                "%s: the webhook at %s is given up after %d calls: %s",
                due.notice.subject,
                urlsplit(due.url).hostname,
                due.tries + 1,
                tried.error,
            )

    def _traced_call(self, due: DueDelivery, lease: Lease) -> Outcome:
        """One call, logged, and traced in the trace of the job that it reports."""
        notice, host = due.notice, urlsplit(due.url).hostname or ""
        attributes: traces.Attributes = {"server.address": host, "sightline.subject": notice.subject}
        with (
            about(request_id=notice.request_id),
            traces.span("webhook", attributes, kind=SpanKind.CLIENT, carrier=notice.trace) as span,
            about(trace_id=traces.trace_id()),
        ):
            outcome = self._post(due, lease)
            tried = outcome.tried
            if tried.status is not None:
                span.set_attributes({"http.response.status_code": tried.status})
            if not tried.taken:
                traces.fail(span, "refused" if tried.status else "unreached")
            _log(due, host, tried)
        return outcome

    def _post(self, due: DueDelivery, lease: Lease) -> Outcome:
        try:
            return post(due, body_of(due.notice), self.settings, lease.cancel)
        except Exception:
            # The outermost frame of a call: a failure that is not counted would be repeated forever.
            log.exception("%s: a webhook could not be called", due.notice.subject)
            at_ms = round(time.time() * 1000)
            error, attempt = "the call could not be made", due.tries + 1
            return Outcome(Delivery(due.notice.type, at_ms, 0, error=error, attempt=attempt))

    def _purge(self, due: DueDelivery) -> None:
        """Delete a job that is not to be stored. If this fails, it expires later."""
        call = purge(self.settings, due.claim.caller, due.notice.subject, delivered=True)
        for name in self.store.run(call) or ():
            delete_blob(self.store, self.blobs, name)

    def _delay_s(self, due: DueDelivery, outcome: Outcome) -> float | None:
        delays = self.settings.webhook.delays_s
        if outcome.tried.taken or outcome.tried.gone or due.tries >= len(delays):
            return None
        # Spread retries, so that calls that failed together do not come back together.
        spread = 1 + secrets.randbelow(101) / 1000
        return max(delays[due.tries] * spread, outcome.retry_after_s)


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
            caller=due.claim.caller,
            host=host,
            attempt=due.tries + 1,
            outcome="taken" if tried.taken else "failed",
            status=tried.status,
            ms=tried.took_ms,
            error=tried.error,
        ),
    )
