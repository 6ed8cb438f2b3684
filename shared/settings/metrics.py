"""The settings of what Prometheus reads; `shared.settings` puts them among the others."""

import re

from pydantic import Field, field_validator

from shared.settings.group import BearerSecret, Group

MOST_PORT = 65535


class MetricsSettings(Group):
    """Who may read the metrics, and where else they are."""

    token: BearerSecret | None = Field(
        None,
        description="A bearer token that opens GET /metrics and nothing else, for Prometheus; 32 visible "
        "ASCII characters or more.",
    )
    listen: str | None = Field(
        None,
        description="HOST:PORT at which a process also serves its own counters, to all that reach it; "
        "for one process per machine or container.",
    )

    @field_validator("listen")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[^\s:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", value):
            raise ValueError("should be HOST:PORT, such as 0.0.0.0:9464")
        if value is not None and int(value.rpartition(":")[2]) > MOST_PORT:
            raise ValueError(f"names a port above {MOST_PORT}")
        return value
