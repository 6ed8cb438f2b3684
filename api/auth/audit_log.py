"""The record of what operators do, in the record store and in the process's log."""

import json
import logging
from dataclasses import asdict

from fastapi import Request

from api.auth.callers import caller_of
from api.server.reply import reply_of
from shared.api_keys import AdminAction, Operator
from shared.store import api_keys
from shared.store.script import AsyncStore, ScriptCall, T

log = logging.getLogger("api.auth")
# Whatever level the rest of this process logs at.
log.setLevel(logging.INFO)


def operator_of(request: Request) -> Operator:
    """Who makes this call."""
    caller, client = caller_of(request), request.scope.get("client")
    return Operator(
        key=caller.id if caller.key is None else caller.key.id,
        name=caller.id if caller.key is None else caller.key.name,
        address="" if client is None else client[0],
        request=reply_of(request).request_id,
    )


class AdminActions:
    """What operators do at one service and their log, as its API processes write and read it."""

    def __init__(self, store: AsyncStore) -> None:
        self._store = store

    async def do(self, operator: Operator, action: str, subject: str, call: ScriptCall[T]) -> T:
        """Make a transition as this operator. Raises Unavailable."""
        outcome, reply = await self._store.run(api_keys.by(operator, action, subject, call))
        entry = {"action": action, "subject": subject, "outcome": outcome, **asdict(operator)}
        log.info("admin %s", json.dumps(entry))
        return reply

    async def list(self, after: str | None, limit: int) -> tuple[list[AdminAction], bool]:
        """A page of them, newest first, and whether there are more."""
        actions = await self._store.run(api_keys.page(after, limit + 1))
        return actions[:limit], len(actions) > limit
