"""Every setting, declared once. Nothing else in the project reads the environment.

Names are `SIGHTLINE_<GROUP>__<NAME>`; units are in the names (`_s` seconds, `_mb` MiB).
Unknown names stop the start: a typing error must not silently fall back to a default.
"""

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "SIGHTLINE_"


class SettingsError(Exception):
    """A setting is wrong; the message names the variable and what was expected."""


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RedisSettings(Group):
    """Where the records live; the Celery broker uses another database of the same server."""

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Redis >= 7.0 or Valkey, with AOF on."
    )
    broker_db: int = Field(1, ge=0, description="Database number of the Celery broker on the same server.")


class ApiSettings(Group):
    """The HTTP front end."""

    sync_limit_s: float = Field(
        120, gt=0, description="Longest a synchronous call waits before 504 wait_exceeded."
    )
    leave_grace_s: float = Field(
        2, ge=0, description="How long a run goes on after its last synchronous caller left."
    )
    body_limit_mb: float = Field(25, gt=0, description="Largest request body in MiB.")
    upload_limit_s: float = Field(60, gt=0, description="Longest a body may take to arrive.")
    keepalive_s: float = Field(10, gt=0, description="Pause between comment lines on an idle event stream.")
    head_start_s: float = Field(
        5, gt=0, description="A stream's headers leave with its first event or after this."
    )


class QueueSettings(Group):
    """Leases, budgets and limits of the queue."""

    lease_s: float = Field(
        10, gt=0, description="A claim not renewed for this long is given to another worker."
    )
    renew_s: float = Field(1, gt=0, description="Pause between renewals; at most a third of lease_s.")
    rescue_s: float = Field(0.5, gt=0, description="Pause between maintenance passes.")
    stall_s: float = Field(
        30, gt=0, description="A worker whose engine makes no progress for this long gives up."
    )
    max_failures: int = Field(3, ge=1, description="Attempts that may report a failure before the run fails.")
    max_deaths: int = Field(3, ge=1, description="Workers that may die on a run before it is poison.")
    max_queued: int = Field(
        10_000, ge=1, description="Runs that may wait for one model before 503 queue_full."
    )
    drain_s: float = Field(
        20, ge=0, description="Grace time of a stopping worker before it gives its runs back."
    )
    worker_ttl_s: float = Field(15, gt=0, description="A worker unheard of for this long counts as gone.")


class RetentionSettings(Group):
    """How long records live, in seconds."""

    result_s: int = Field(86_400, ge=1, description="Results, events and cache entries after a run's end.")
    job_s: int = Field(
        604_800, ge=1, description="A job's own record after its end (410 once its result is gone)."
    )
    idempotency_s: int = Field(86_400, ge=1, description="How long an Idempotency-Key is remembered.")


class BlobSettings(Group):
    """Where pictures lie, under their sha256."""

    url: str = Field("data/blobs", description="A folder shared by api, workers and couriers.")


class PictureSettings(Group):
    """Limits on what strangers send as pictures."""

    max_mb: float = Field(20, gt=0, description="Largest picture file in MiB.")
    max_megapixels: float = Field(40, gt=0, description="Largest picture in millions of pixels.")
    max_megapixels_request: float = Field(80, gt=0, description="All pictures of one request together.")
    max_count: int = Field(32, ge=1, description="Pictures in one request.")
    max_ratio: float = Field(50, ge=1, description="Longer side over shorter side.")
    max_jpeg_scans: int = Field(
        200, ge=1, description="Scans in one JPEG (progressive files have about ten)."
    )
    decode_limit_s: float = Field(
        5, gt=0, description="Longest one picture may take to decode before its child is ended."
    )
    decode_memory_mb: int = Field(
        2048, ge=256, description="Address space growth allowed to a decoding child."
    )


class FetchSettings(Group):
    """Fetching remote pictures; done by the courier only."""

    limit_s: float = Field(5, gt=0, description="DNS, headers, redirects and body together.")
    max_redirects: int = Field(3, ge=0, description="Redirects followed; each is checked again.")
    allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Hosts or networks exempt from the address guard, comma separated (never 169.254.0.0/16).",
    )

    @field_validator("allow", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(p.strip() for p in value.split(",") if p.strip()) if isinstance(value, str) else value


class WorkerSettings(Group):
    """What one worker process serves."""

    model: str = Field(
        "", description="Id of the model this worker serves; empty = the first of the models file."
    )
    threads: int = Field(1, ge=1, description="CPU threads torch may use.")


class Settings(BaseSettings):
    """All settings, frozen. See `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    models_file: Path = Field(Path("models.toml"), description="The models this installation serves.")
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error."
    )
    redis: RedisSettings = RedisSettings()
    api: ApiSettings = ApiSettings()
    queue: QueueSettings = QueueSettings()
    retention: RetentionSettings = RetentionSettings()
    blobs: BlobSettings = BlobSettings()
    pictures: PictureSettings = PictureSettings()
    fetch: FetchSettings = FetchSettings()
    worker: WorkerSettings = WorkerSettings()


def known_names() -> set[str]:
    """Every environment name that means something to us."""
    names = set()
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Group):
            names |= {f"{PREFIX}{name}__{inner}".upper() for inner in kind.model_fields}
        else:
            names.add(f"{PREFIX}{name}".upper())
    return names


def load_settings() -> Settings:
    """Read the environment. Raises SettingsError naming the variable."""
    unknown = sorted(n for n in os.environ if n.upper().startswith(PREFIX) and n.upper() not in known_names())
    if unknown:
        raise SettingsError(f"{unknown[0]} is not a setting. Known: {', '.join(sorted(known_names()))}")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "__".join(str(p) for p in first["loc"]).upper()
        raise SettingsError(f"{name}: {first['msg']}") from None


@cache
def settings() -> Settings:
    """The process's settings, read once."""
    return load_settings()


def broker_url(redis: RedisSettings) -> str:
    """The Celery broker's URL: the records' server, another database."""
    parts = urlsplit(redis.url.get_secret_value())
    return urlunsplit(parts._replace(path=f"/{redis.broker_db}"))
