"""Log what operators do: one JSON line for each action, with who, what, from where and the call's id."""

import json
import logging
from dataclasses import asdict

from fastapi import Request

from api.auth.callers import caller_of
from api.server.reply import reply_of
from shared.api_keys import Operator

log = logging.getLogger("api.auth")
# Whatever level the rest of this process logs at.
log.setLevel(logging.INFO)
LONGEST_SUBJECT = 200
"""Letters of a subject in the log. A caller may type anything as an id."""


def operator_of(request: Request) -> Operator:
    """Return who makes this call."""
    caller, client = caller_of(request), request.scope.get("client")
    return Operator(
        key=caller.id if caller.key is None else caller.key.id,
        name=caller.id if caller.key is None else caller.key.name,
        address="" if client is None else client[0],
        request=reply_of(request).request_id,
    )


def log_action(operator: Operator, action: str, subject: str, *, found: bool = True) -> None:
    """Log an action on a key, model or record."""
    outcome = "done" if found else "not_found"
    entry = {"action": action, "subject": subject[:LONGEST_SUBJECT], "outcome": outcome}
    log.info("admin %s", json.dumps(entry | asdict(operator)))
