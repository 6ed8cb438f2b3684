"""The settings of traces; `shared.settings` puts them among the others."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from shared.settings.group import Group


class TraceSettings(Group):
    """Where traces go, if anywhere."""

    url: str = Field(
        "",
        description="Where traces are sent, by OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; "
        "empty = no traces. Needs the extra `traces`.",
    )

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if "@" in value:
            raise ValueError("should name no user; OTEL_EXPORTER_OTLP_HEADERS may say who sends the traces")
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("should be http://HOST:PORT/v1/traces or https://…")
        return value
