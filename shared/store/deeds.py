"""The log of operators' deeds: each is logged in the step that does it, so that neither exists alone."""

from dataclasses import asdict
from typing import Any, cast

from shared.deed import Deed, Operator, Outcome
from shared.store.script import Call, Script, T
from shared.store.views import pairs

DEEDS = Script("deeds")
MOST = 10_000
"""Deeds that are kept; the oldest go first."""
LONGEST = 200


def by(operator: Operator, action: str, subject: str, call: Call[T]) -> Call[tuple[Outcome, T]]:
    """The same transition, logged as this operator's action on a key or model, with its outcome."""
    # The subject may be anything that was typed.
    said = {"by": {"action": action, "subject": subject[:LONGEST], **asdict(operator)}, "max_deeds": MOST}

    def parse(reply: list[Any]) -> tuple[Outcome, T]:
        # Lua's lists end before a nil.
        outcome, *answer = reply
        return outcome, call.parse(answer[0] if answer else None)

    return Call(call.script, {**call.arguments, **said}, parse, call.text)


def deeds(after: str | None, limit: int) -> Call[list[Deed]]:
    """Newest first, behind the deed with the id `after`."""
    return Call(DEEDS, {"after": after, "limit": limit}, lambda reply: [_deed(*row) for row in reply])


def _deed(id: str, flat: list[Any]) -> Deed:
    said = pairs(flat)
    operator = Operator(said["key"], said["name"], said["address"], said["request"])
    return Deed(
        id, int(said["at"]), said["action"], said["subject"], cast(Outcome, said["outcome"]), operator
    )
