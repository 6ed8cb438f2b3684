"""Counts requests: how many, how they were answered, how long that took."""

from http import HTTPMethod

from api.wire.reply import Reply
from shared.metrics.requests import HTTP, HTTP_SECONDS

METHODS = frozenset(HTTPMethod)
"""All others are one: a stranger may think up many."""
NOT_OF_THE_ROUTE = 405
"""Methods that a route does not have are one, too: each would bring all its buckets."""
LEFT = 499
"""As nginx writes it: the caller hung up before the answer began."""


def count_request(method: str, reply: Reply, took_s: float) -> None:
    """Once, at its end. What the gate refuses has no route yet."""
    known = method in METHODS and reply.status != NOT_OF_THE_ROUTE
    route, method = reply.route or "other", method if known else "other"
    HTTP.labels(route, method, str(reply.status or LEFT)).inc()
    HTTP_SECONDS.labels(route, method).observe(took_s)
