"""Counts requests by route, method and status, and how long they took."""

from http import HTTPMethod

from api.wire.reply import Reply
from shared.metrics.requests import HTTP, HTTP_SECONDS

METHODS = frozenset(HTTPMethod)
"""Other methods share one label: a stranger can invent any number of them."""
NOT_OF_THE_ROUTE = 405
"""Methods that a route lacks share that label too: each would add a full set of histogram buckets."""
LEFT = 499
"""nginx's status for a caller who hung up before the answer began."""


def count_request(method: str, reply: Reply, took_s: float) -> None:
    """Call once, when the request ends. A request that the gate refused has no route yet."""
    known = method in METHODS and reply.status != NOT_OF_THE_ROUTE
    route, method = reply.route or "other", method if known else "other"
    HTTP.labels(route, method, str(reply.status or LEFT)).inc()
    HTTP_SECONDS.labels(route, method).observe(took_s)
