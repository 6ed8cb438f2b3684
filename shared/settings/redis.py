"""The settings of the record store; `shared.settings` puts them among the others."""

from pathlib import Path

from pydantic import Field, FilePath, SecretStr, ValidationInfo, field_validator

from shared.settings import redis_url
from shared.settings.group import Group, both_or_none


class RedisSettings(Group):
    """Where the records live; the Celery broker uses another database of the same server."""

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis >= 7.0 or Valkey, with AOF on: redis://USER:PASSWORD@HOST:PORT/DATABASE, or "
        "rediss:// for TLS.",
    )
    tls_ca: FilePath | None = Field(
        None,
        description="Authorities (PEM) that the server's certificate is checked against; by default "
        "the system's.",
    )
    tls_cert: FilePath | None = Field(
        None, description="Our certificate, if the server requires one of its clients."
    )
    tls_key: FilePath | None = Field(None, validate_default=True, description="Its private key.")
    broker_db: int | None = Field(
        None,
        ge=0,
        description="Database number of the Celery broker on the same server; by default the next one "
        "after the records'.",
    )
    full_at: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Share of the server's maxmemory at which new work is refused with 503, counting the "
        "records and 6 KiB for each queued run. Without a "
        "maxmemory nothing is refused.",
    )

    @field_validator("url")
    @classmethod
    def _known_form(cls, value: SecretStr) -> SecretStr:
        redis_url.split(value)
        return value

    @field_validator("broker_db")
    @classmethod
    def _not_the_records(cls, value: int | None, info: ValidationInfo) -> int | None:
        if (
            value is not None
            and "url" in info.data
            and value == redis_url.database(redis_url.split(info.data["url"]))
        ):
            raise ValueError(f"the records are in database {value} already; the broker needs another")
        return value

    @field_validator("tls_ca", "tls_cert")
    @classmethod
    def _over_tls(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and "url" in info.data and redis_url.split(info.data["url"]).scheme != "rediss":
            raise ValueError("means nothing without TLS: SIGHTLINE_REDIS__URL should begin with rediss://")
        return value

    @field_validator("tls_key")
    @classmethod
    def _with_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return both_or_none(value, info.data.get("tls_cert"))

    @property
    def store_url(self) -> str:
        """The records' URL as clients take it; it may hold a password."""
        parts = redis_url.split(self.url)
        return redis_url.to_connect(parts, redis_url.database(parts), self._tls)

    @property
    def broker_url(self) -> str:
        """The Celery broker's URL: the records' server, another database."""
        parts = redis_url.split(self.url)
        number = redis_url.database(parts) + 1 if self.broker_db is None else self.broker_db
        return redis_url.to_connect(parts, number, self._tls)

    @property
    def _tls(self) -> dict[str, str]:
        files = {"ssl_ca_certs": self.tls_ca, "ssl_certfile": self.tls_cert, "ssl_keyfile": self.tls_key}
        return {name: str(path) for name, path in files.items() if path is not None}
