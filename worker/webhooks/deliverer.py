"""Calls the webhooks that are due, in threads of their own, so that a call that hangs delays no fetches."""

import logging
import secrets
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from shared import ids
from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.job import Delivery
from shared.metrics.courier_counters import CALL_SECONDS, CALLS
from shared.settings import Settings
from shared.store.constants import CALL_SLACK_S
from shared.store.files import delete_blob
from shared.store.jobs import purge
from shared.store.script import ScriptCall, Store
from shared.store.webhooks import Again, DueCall, Reported, claim, report
from shared.telemetry import traces
from shared.telemetry.logs import about, fields
from shared.webhooks import body_of
from worker.claim_loop import AttemptThreads, IdlePoll
from worker.lease import RETRY_S
from worker.webhooks.post import Outcome, post

log = logging.getLogger("worker.webhooks")
MAX_CALLS = 32
"""Calls of one courier at once."""


@dataclass(frozen=True)
class Deliverer:
    """Claims calls and makes them. A failed call waits, for longer each time, and is given up at last.

    `draining` ends the claims; `cut` ends the calls that are being made: they are made again.
    """

    settings: Settings
    store: Store
    blobs: Blobs
    draining: threading.Event = field(default_factory=threading.Event)
    cut: threading.Event = field(default_factory=threading.Event)

    def poll(self, pause_s: float) -> IdlePoll[DueCall]:
        """Look for due calls, and make them in up to MAX_CALLS threads."""
        return IdlePoll(self.take, AttemptThreads(self.work_on), MAX_CALLS, pause_s)

    def take(self) -> DueCall | None:
        """Claim the next call; none while the courier ends."""
        due: DueCall | Again | None = "again"
        while due == "again" and not self.draining.is_set():
            try:
                due = self.store.run(claim(self.settings, ids.token()))
            except Unavailable as error:
                log.warning("webhooks wait: %s", error.message)
                return None
        return None if due == "again" else due

    def work_on(self, due: DueCall | None) -> None:
        """Make a claimed call, and others that are due."""
        while due is not None:
            self.attempt(due)
            due = self.take()

    def attempt(self, due: DueCall) -> None:
        try:
            self._report(due, self._traced_call(due))
        except Exception:
            # The outermost frame of a call: its lease ends, and it is made again.
            log.exception("%s: the outcome of a webhook's call is lost", due.id)

    def _report(self, due: DueCall, outcome: Outcome) -> None:
        tried, delay_s = outcome.tried, self._delay_s(due, outcome)
        if self.cut.is_set() and not tried.taken:
            # That says nothing about the receiver.
            log.warning("%s: a webhook's call is cut off by this courier's end, and made again", due.id)
            self._write(report(self.settings, due, None))
            return
        reported = self._write(report(self.settings, due, tried, delay_s))
        if reported in ("forget", "lost") and delay_s is None:
            # Perhaps not the claim was lost, but the reply to a first report.
            self._purge(due)
        if reported not in ("settled", "forget"):
            return
        word = "taken" if tried.taken else "retried" if delay_s is not None else "given_up"
        CALLS.labels("gone" if tried.gone else word).inc()
        CALL_SECONDS.observe(tried.took_ms / 1000)
        if delay_s is None and not tried.taken:
            at, calls = urlsplit(due.url).hostname, due.tries + 1
            log.error("%s: the webhook at %s is given up after %d calls: %s", due.id, at, calls, tried.error)

    def _write(self, call: ScriptCall[Reported]) -> Reported | None:
        """Write an outcome. None if the store does not take it before the lease ends."""
        until = time.monotonic() + CALL_SLACK_S
        while True:
            try:
                return self.store.run(call)
            except Unavailable as error:
                log.warning("the outcome of a webhook's call waits: %s", error.message)
                if self.cut.is_set() or time.monotonic() > until:
                    return None
                time.sleep(RETRY_S)

    def _traced_call(self, due: DueCall) -> Outcome:
        """One call, logged, and traced in the trace of the job that it reports."""
        notice, host = due.notice, urlsplit(due.url).hostname or ""
        attributes: traces.Attributes = {"server.address": host, "sightline.subject": notice.subject}
        with (
            about(request_id=notice.request_id),
            traces.span("webhook", attributes, kind=SpanKind.CLIENT, carrier=notice.trace) as span,
            about(trace_id=traces.trace_id()),
        ):
            outcome = self._post(due)
            tried = outcome.tried
            if tried.status is not None:
                span.set_attributes({"http.response.status_code": tried.status})
            if not tried.taken:
                traces.fail(span, "refused" if tried.status else "unreached")
            _log(due, host, tried)
        return outcome

    def _post(self, due: DueCall) -> Outcome:
        try:
            return post(due, body_of(due.notice), self.settings, self.cut)
        except Exception:
            # The outermost frame of a call: a failure that is not counted would be repeated forever.
            log.exception("%s: a webhook could not be called", due.id)
            error, at_ms = "the call could not be made", round(time.time() * 1000)
            return Outcome(Delivery(due.notice.type, at_ms, 0, None, error, due.tries + 1))

    def _purge(self, due: DueCall) -> None:
        """Delete a job that is not to be stored. If this fails, it expires later."""
        call = purge(self.settings, due.caller, due.id, delivered=True)
        for name in self.store.run(call) or ():
            delete_blob(self.store, self.blobs, name)

    def _delay_s(self, due: DueCall, outcome: Outcome) -> float | None:
        delays = self.settings.webhook.delays_s
        if outcome.tried.taken or outcome.tried.gone or due.tries >= len(delays):
            return None
        # Spread retries, so that calls that failed together do not come back together.
        spread = 1 + secrets.randbelow(101) / 1000
        return max(delays[due.tries] * spread, outcome.retry_after_s)


def _log(due: DueCall, host: str, tried: Delivery) -> None:
    log.info(
        "webhook called",
        extra=fields(
            subject=due.id,
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
