"""One line in the log for each request."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Scope

from api.wire.counting import count_request
from api.wire.reply import Reply
from shared.telemetry import traces
from shared.telemetry.logs import about, fields

log = logging.getLogger(__name__)


@contextmanager
def entered(scope: Scope, reply: Reply) -> Iterator[None]:
    """Around a request: every line logged within carries its id, and the last one says how it went.

    The line names the route's template, or `other` where the gate refused or none was found: no log repeats
    what a caller wrote into a path or query. A line without a status means that the caller left before an
    answer began.
    """
    began = time.perf_counter()
    with about(request_id=reply.request_id, trace_id=traces.trace_id()):
        try:
            yield
        finally:
            took_s = time.perf_counter() - began
            count_request(scope["method"], reply, took_s)
            if log.isEnabledFor(logging.INFO):
                took_ms = round(took_s * 1000, 1)
                route = reply.route or "other"
                said = fields(method=scope["method"], route=route, status=reply.status, ms=took_ms)
                log.info("request", extra=said)
