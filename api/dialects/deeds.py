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
