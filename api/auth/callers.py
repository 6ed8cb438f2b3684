"""The caller of a request, for its handlers, and the log of operators: one JSON line for each action.

`api.auth.middleware` has found out who calls.
"""

import json
import logging
from dataclasses import asdict
from typing import cast

from fastapi import Request

from api.server.reply import reply_of
from shared.api_keys import ApiKey, Operator
from shared.errors import CallerError
from shared.value_object import value_object

log = logging.getLogger("api.auth")
# Whatever level the rest of this process logs at.
log.setLevel(logging.INFO)
LONGEST_SUBJECT = 200
"""Letters of a subject in the log. A caller may type anything as an id."""
KEY = "sightline.caller"


@value_object
class Caller:
    """The tenant whose jobs a request sees.

    `max_queued` and `retain_s` come from its `key`: how many of its jobs may wait, and how long its things
    are kept. Without keys there is none.
    """

    id: str
    max_queued: int | None = None
    retain_s: int | None = None
    key: ApiKey | None = None

    @property
    def reads(self) -> bool:
        """Whether it may see answers to earlier requests, and not only to the one it makes now."""
        return self.key is None or "read" in self.key.scopes

    def check_reads(self) -> None:
        """Raises CallerError `insufficient_scope`."""
        if not self.reads:
            message = "This API key lacks the scope `read`: who goes on from an earlier answer reads it."
            raise CallerError("insufficient_scope", message)


def caller_of(request: Request) -> Caller:
    return cast(Caller, request.scope[KEY])


def operator_of(request: Request) -> Operator:
    caller, client = caller_of(request), request.scope.get("client")
    return Operator(
        key=caller.id if caller.key is None else caller.key.id,
        name=caller.id if caller.key is None else caller.key.name,
        address="" if client is None else client[0],
        request=reply_of(request).request_id,
    )


def log_action(operator: Operator, action: str, subject: str, *, found: bool = True) -> None:
    outcome = "done" if found else "not_found"
    entry = {"action": action, "subject": subject[:LONGEST_SUBJECT], "outcome": outcome}
    log.info("admin %s", json.dumps(entry | asdict(operator)))
