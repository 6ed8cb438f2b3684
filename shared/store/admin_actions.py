"""The log of what operators did: an act is logged in the step that does it, so that neither exists alone."""

from dataclasses import asdict
from typing import Any, cast

from shared.api_keys import AdminAction, Operator, Outcome
from shared.store.script import Script, ScriptCall, T
from shared.store.views import pairs

ADMIN_ACTIONS = Script("admin_actions")
MOST = 10_000
"""Acts that are kept; the oldest go first."""
LONGEST = 200


def by(operator: Operator, action: str, subject: str, call: ScriptCall[T]) -> ScriptCall[tuple[Outcome, T]]:
    """The same transition, logged as this operator's action on a key or model, with its outcome."""
    # The subject may be anything that was typed.
    said = {
        "by": {"action": action, "subject": subject[:LONGEST], **asdict(operator)},
        "max_admin_actions": MOST,
    }

    def parse(reply: list[Any]) -> tuple[Outcome, T]:
        # Lua's lists end before a nil.
        outcome, *answer = reply
        return outcome, call.parse(answer[0] if answer else None)

    return ScriptCall(call.script, {**call.arguments, **said}, parse, call.text)


def page(after: str | None, limit: int) -> ScriptCall[list[AdminAction]]:
    """Newest first, behind the act with the id `after`."""
    return ScriptCall(
        ADMIN_ACTIONS, {"after": after, "limit": limit}, lambda reply: [_admin_action(*row) for row in reply]
    )


def _admin_action(id: str, flat: list[Any]) -> AdminAction:
    said = pairs(flat)
    operator = Operator(said["key"], said["name"], said["address"], said["request"])
    return AdminAction(
        id, int(said["at"]), said["action"], said["subject"], cast(Outcome, said["outcome"]), operator
    )
