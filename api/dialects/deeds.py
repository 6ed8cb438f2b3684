"""/v1/admin/audit: what operators did. Times are Unix seconds."""

from typing import Any

from shared.deed import Deed


def to_deed(deed: Deed) -> dict[str, Any]:
    return {
        "id": deed.id,
        "object": "admin_action",
        "at": deed.at_ms / 1000,
        "action": deed.action,
        "subject": deed.subject,
        "outcome": deed.outcome,
        "key": {"id": deed.operator.key, "name": deed.operator.name},
        "address": deed.operator.address,
        "request_id": deed.operator.request,
    }


def to_deeds(deeds: list[Deed], has_more: bool) -> dict[str, Any]:
    """One page, newest first."""
    return {
        "object": "list",
        "data": [to_deed(deed) for deed in deeds],
        "first_id": deeds[0].id if deeds else None,
        "last_id": deeds[-1].id if deeds else None,
        "has_more": has_more,
    }
