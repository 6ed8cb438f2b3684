"""/v1/admin/audit: what operators did. Times are Unix seconds."""

from typing import Any

from shared.admin_action import AdminAction


def to_admin_action(act: AdminAction) -> dict[str, Any]:
    return {
        "id": act.id,
        "object": "admin_action",
        "at": act.at_ms / 1000,
        "action": act.action,
        "subject": act.subject,
        "outcome": act.outcome,
        "key": {"id": act.operator.key, "name": act.operator.name},
        "address": act.operator.address,
        "request_id": act.operator.request,
    }
