"""The API keys' transitions and reads, and the log of what operators did.

Secrets never come here, only their digests. An act is logged in the step that does it: neither exists alone.
"""

from dataclasses import asdict, dataclass
from typing import Any, cast

from shared.api_keys import AdminAction, ApiKey, Operator, Outcome, Scope
from shared.store.script import Script, ScriptCall, T
from shared.store.views import pairs

CREATE, LIST = Script("key_create"), Script("key_list")
USE, ROTATE, REVOKE = Script("key_use"), Script("key_rotate"), Script("key_revoke")
ADMIN_ACTIONS = Script("admin_actions")
KEPT_S = 30 * 86_400
"""How long a key that is revoked or has expired is still listed."""
MOST_FORMER = 16
"""Former secrets in force at most; those that end soonest go first."""
MOST_ACTIONS = 10_000
"""Acts that are kept; the oldest go first."""
LONGEST_SUBJECT = 200


@dataclass(frozen=True)
class Use:
    """One request with a key. `left` requests fit into the window, -1 = this one did not.

    In `reset_s` seconds the oldest request leaves the window. Both are 0 where the key has no quota.
    """

    key: ApiKey
    left: int = 0
    reset_s: int = 0


def create(key: ApiKey, digest: str) -> ScriptCall[ApiKey]:
    """Keep a new key; its `created_ms` is the store's clock."""
    arguments = {
        "id": key.id,
        "name": key.name,
        "caller": key.caller,
        "scopes": " ".join(key.scopes),
        "digest": digest,
        "expires": key.expires_ms,
        "rate": key.requests_per_minute,
        "max_queued": key.max_queued,
        "retain_s": key.retain_s,
        "kept_s": KEPT_S,
    }
    return ScriptCall(CREATE, arguments, _key)


def use(digest: str) -> ScriptCall[Use | None]:
    """Look up a request's key and count the request; None where no key in force has this secret."""

    def parse(reply: list[Any] | None) -> Use | None:
        return None if reply is None else Use(_key(reply[0]), int(reply[1]), int(reply[2]))

    return ScriptCall(USE, {"digest": digest}, parse)


def keys() -> ScriptCall[list[ApiKey]]:
    """All keys, newest first."""
    return ScriptCall(LIST, {}, lambda reply: [_key(row) for row in reply])


def rotate(id: str, digest: str, grace_s: int) -> ScriptCall[ApiKey | None]:
    """Give a key another secret; the former one goes on for `grace_s`, earlier ones no longer than they had.

    None where no such key is in force.
    """
    arguments = {"id": id, "digest": digest, "grace_s": grace_s, "most": MOST_FORMER}
    return ScriptCall(ROTATE, arguments, _known)


def revoke(id: str) -> ScriptCall[ApiKey | None]:
    """End a key and its secrets for good; harmless twice. None where there is no such key."""
    return ScriptCall(REVOKE, {"id": id, "kept_s": KEPT_S}, _known)


def _known(reply: list[Any] | None) -> ApiKey | None:
    return None if reply is None else _key(reply)


def _key(flat: list[Any]) -> ApiKey:
    fields = pairs(flat)
    numbers = {
        name: int(fields[name])
        for name in ("expires", "revoked", "former_until", "rate", "max_queued", "retain_s")
        if name in fields
    }
    return ApiKey(
        id=fields["id"],
        name=fields["name"],
        caller=fields["caller"],
        scopes=tuple(cast(Scope, scope) for scope in fields["scopes"].split()),
        created_ms=int(fields["created"]),
        expires_ms=numbers.get("expires"),
        revoked_ms=numbers.get("revoked"),
        former_until_ms=numbers.get("former_until"),
        requests_per_minute=numbers.get("rate"),
        max_queued=numbers.get("max_queued"),
        retain_s=numbers.get("retain_s"),
    )


def by(operator: Operator, action: str, subject: str, call: ScriptCall[T]) -> ScriptCall[tuple[Outcome, T]]:
    """The same transition, logged as this operator's action on a key or model, with its outcome."""
    # The subject may be anything that was typed.
    record = {
        "by": {"action": action, "subject": subject[:LONGEST_SUBJECT], **asdict(operator)},
        "max_admin_actions": MOST_ACTIONS,
    }

    def parse(reply: list[Any]) -> tuple[Outcome, T]:
        # Lua's lists end before a nil.
        outcome, *answer = reply
        return outcome, call.parse(answer[0] if answer else None)

    return ScriptCall(call.script, {**call.arguments, **record}, parse, call.text)


def page(after: str | None, limit: int) -> ScriptCall[list[AdminAction]]:
    """Newest first, behind the act with the id `after`."""
    return ScriptCall(
        ADMIN_ACTIONS, {"after": after, "limit": limit}, lambda reply: [_admin_action(*row) for row in reply]
    )


def _admin_action(id: str, flat: list[Any]) -> AdminAction:
    fields = pairs(flat)
    operator = Operator(fields["key"], fields["name"], fields["address"], fields["request"])
    return AdminAction(
        id, int(fields["at"]), fields["action"], fields["subject"], cast(Outcome, fields["outcome"]), operator
    )
