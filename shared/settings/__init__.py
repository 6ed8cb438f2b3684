"""Every setting, declared once: nothing else takes a setting from the environment.

Names are `SIGHTLINE_<GROUP>__<NAME>`, and `SIGHTLINE_<NAME>` of what has no group; units are in the names (`_s` seconds, `_mb` MiB).
Unknown names stop the start: a typing error must not silently fall back to a default.

What stops the start at a name that is no setting? `__init__.py` (`load_settings`).
Which limits has the API? `api.py` (`ApiSettings`).
How is a URL of Sentinels read? `redis.py` (`sentinels`).
"""

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared import ROOT, VERSION
from shared.request import MOST_FRAMES, MOST_PAGES, MOST_PICTURES
from shared.settings.api import ApiSettings as ApiSettings
from shared.settings.group import BearerSecret, Group, Listed, display_entry
from shared.settings.redis import RedisSettings as RedisSettings
from shared.url_guard import AddressRules, BucketRules, may_match, may_name_bucket
from shared.webhooks import key_of

SHIPPED_MODELS = ROOT / "models.toml"


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


Pause = Annotated[float, Field(ge=0)]


class WebhookSettings(Group):
    """Calling callers back; done by the courier only, with the address guard of fetching."""

    secret: SecretStr | None = Field(
        None,
        description="Signs deliveries of webhooks that have no secret: `whsec_` and base64, or 16 bytes of text or more. With API keys on, for the admin key's caller only.",
    )
    limit_s: float = Field(20, gt=0, description="Seconds for one delivery, from DNS to the answer.")
    delays_s: Listed[tuple[Pause, ...]] = Field(
        (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400),
        description="Pauses after each failed delivery, comma separated; then it is abandoned.",
    )
    host_calls: int = Field(4, ge=1, description="Deliveries to one host at a time, of all callers.")

    @property
    def life_s(self) -> int:
        """Seconds after a job's end for which its webhook needs the job: all tries, and a day to redeliver."""
        return round(1.1 * sum(self.delays_s)) + 86_400

    @field_validator("secret")
    @classmethod
    def _signs(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            key_of(value.get_secret_value())
        return value


class SoundSettings(Group):
    """Limits on what strangers send to be heard."""

    max_mb: float = Field(10, gt=0, description="Largest audio file.")
    max_s: float = Field(30, gt=0, le=600, description="Longest audio, in seconds.")
    max_count: int = Field(4, ge=1, le=16, description="Audio files in one request.")
    decode_limit_s: float = Field(5, gt=0, description="Processor time for decoding one audio file.")
    decode_memory_mb: int = Field(400, ge=64, description="Memory of a decoding process.")


class VideoSettings(Group):
    """Limits on what strangers send as videos."""

    max_mb: float = Field(50, gt=0, description="Largest video file.")
    max_s: float = Field(600, gt=0, description="Longest video, in seconds.")
    max_count: int = Field(4, ge=1, le=16, description="Videos in one request.")
    max_megapixels: float = Field(9, gt=0, description="Largest frame in millions of pixels.")
    max_frames: int = Field(
        MOST_FRAMES, ge=1, le=MOST_FRAMES, description="Frames shown in one request, if the context has room."
    )
    max_megapixels_request: float = Field(
        128, gt=0, description="All frames of a request, in million pixels."
    )
    decode_limit_s: float = Field(30, gt=0, description="Processor time for decoding one video.")
    decode_memory_mb: int = Field(800, ge=64, description="Memory of a decoding process.")


MOST_PORT = 65535


class MetricsSettings(Group):
    """Who may read the metrics, and where workers and couriers have theirs."""

    token: BearerSecret | None = Field(
        None,
        description="A bearer token that opens GET /metrics and nothing else, for Prometheus; 32 visible "
        "ASCII characters or more.",
    )
    listen: str = Field(
        "127.0.0.1:9464",
        description="HOST:PORT of a worker's or courier's metrics, open to all; if taken, the first free port of the next 99.",
    )

    @field_validator("listen")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if not re.fullmatch(r"[^\s:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", value):
            raise ValueError("should be HOST:PORT, such as 0.0.0.0:9464")
        if int(value.rpartition(":")[2]) > MOST_PORT:
            raise ValueError(f"names a port above {MOST_PORT}")
        return value


PREFIX = "SIGHTLINE_"
BLOB_STORES = ("file", "s3", "gs", "az")
CLIENT_KEY = "SIGHTLINE_API_KEY"
"""No setting: the API key that the command line sends."""
CLIENT_URL = "SIGHTLINE_URL"
"""No setting: the service that the command line calls."""


class SettingsError(Exception):
    """A setting is wrong; the message names the variable and what was expected."""


class QueueSettings(Group):
    """Leases, budgets and limits of the queue."""

    lease_s: float = Field(10, gt=0, description="A claim not renewed for this long goes to another worker.")
    renew_s: float = Field(1, gt=0, validate_default=True, description="Renewal pause; at most lease_s / 3.")
    rescue_s: float = Field(0.5, gt=0, description="Pause between maintenance passes.")
    stall_s: float = Field(
        30,
        gt=0,
        description="A worker whose engine makes no progress for this long, and ten of its longest steps, exits.",
    )
    max_failures: int = Field(3, ge=1, description="Failed attempts before the run fails.")
    backoff_s: float = Field(
        1, ge=0, le=60, description="Pause after a run's first failed attempt; doubled each time, up to 60."
    )
    max_deaths: int = Field(3, ge=1, description="Workers that may crash on a run alone before it is poison.")
    max_queued: int = Field(20_000, ge=1, description="Queued runs of one model before 503 queue_full.")
    max_queued_caller: int = Field(
        10_000,
        ge=1,
        description="A caller's queued runs of one model before 429 caller_queue_full; a key can set its own.",
    )
    share_answers: bool = Field(False, description="true: callers share cached answers and computations.")
    expire_s: float = Field(86_400, gt=0, description="A job without finish_by fails after so long in line.")
    drain_s: float = Field(20, ge=0, description="Time in which a stopping process finishes its work.")
    worker_ttl_s: float = Field(15, gt=0, description="A worker without a heartbeat this long is gone.")

    @field_validator("renew_s")
    @classmethod
    def _in_time(cls, value: float, info: ValidationInfo) -> float:
        """Two renewals may get lost before a claim does."""
        if "lease_s" in info.data and 3 * value > info.data["lease_s"]:
            raise ValueError(f"should be at most a third of lease_s, which is {info.data['lease_s']:g}")
        return value


class RetentionSettings(Group):
    """How long records live, in seconds."""

    result_s: int = Field(86_400, ge=1, description="Life of an ended run's results, events, cache.")
    job_s: int = Field(
        604_800,
        ge=1,
        description="How long a job's record is stored after its end (410 once its result is deleted).",
    )
    unstored_s: int = Field(
        3600,
        ge=1,
        description="How long a job with `store: false` is stored after its end if no one reads it.",
    )
    idempotency_s: int = Field(86_400, ge=1, description="How long an Idempotency-Key is stored.")
    file_s: int = Field(2_592_000, ge=1, description="How long files are stored without `expires_after`.")


class BlobSettings(Group):
    """Where pictures, sounds, videos and files lie, under their sha256."""

    url: str = Field(
        "data/blobs",
        description="A folder, or an object store as s3://bucket/prefix, gs://bucket/prefix or "
        "az://container/prefix: the same for APIs, workers and couriers.",
    )

    @property
    def folder(self) -> Path | None:
        """None for an object store."""
        scheme, separator, rest = self.url.partition("://")
        if not separator:
            return Path(self.url)
        return Path(unquote(rest)) if scheme == "file" else None

    @field_validator("url")
    @classmethod
    def _store(cls, value: str) -> str:
        """Credentials come from the environment, so that this may stand in logs and be shown."""
        scheme, separator, rest = value.partition("://")
        bucket = rest if scheme == "file" else rest.partition("/")[0]
        named = scheme in BLOB_STORES and bucket and not {"@", "?", "#"} & set(rest)
        # `s3:/bucket` is no folder.
        folder = value.partition(":")[0] not in BLOB_STORES
        if not value or value != value.strip() or not (named if separator else folder):
            raise ValueError(f"should be a folder or {', '.join(f'{s}://…' for s in BLOB_STORES)}, no more")
        if scheme == "file" and not rest.startswith("/"):
            raise ValueError("file:// wants the folder from the root on, as in file:///srv/blobs")
        return value


class PictureSettings(Group):
    """Limits on what strangers send as pictures."""

    max_mb: float = Field(50, gt=0, description="Largest picture file.")
    max_megapixels: float = Field(40, gt=0, description="Million pixels to which larger pictures are shrunk.")
    max_megapixels_request: float = Field(
        80, gt=0, description="The same for all pictures of one request; the largest are shrunk."
    )
    max_megapixels_sent: float = Field(256, gt=0, description="Largest picture in millions of pixels.")
    max_mb_request: float = Field(100, gt=0, description="All pictures of a request, earlier turns included.")
    max_count: int = Field(256, ge=1, le=MOST_PICTURES, description="Pictures in a request, if they fit.")
    max_side: int | None = Field(
        None,
        ge=64,
        description="Pixels of a picture's longer side; larger ones are shrunk. Not set: 8000 for 40 megapixels.",
    )
    max_ratio: float = Field(200, ge=1, description="Longer side over shorter side.")
    decode_limit_s: float = Field(10, gt=0, description="Processor time for decoding one picture.")
    decode_memory_mb: int = Field(
        400,
        ge=64,
        description="Memory of a decoding process. A machine or container decodes two pictures above 100 MB at a time.",
    )


class DocumentSettings(Group):
    """Limits on what strangers send as documents; their pages are also held to the limits of pictures."""

    max_mb: float = Field(50, gt=0, description="Largest document.")
    max_pages: int = Field(1000, ge=1, le=MOST_PAGES, description="Pages of a job of pages.")
    page_side: int = Field(
        1600,
        ge=64,
        le=4096,
        description="Pixels of a rendered page's longer side; none exceeds 300 dots an inch.",
    )
    decode_limit_s: float = Field(5, gt=0, description="Processor time to open a document, and per page.")
    decode_memory_mb: int = Field(600, ge=64, description="Memory of a rendering process, the file included.")


class FetchSettings(Group):
    """Fetching remote pictures; done by the courier only."""

    limit_s: float = Field(
        5,
        gt=0,
        description="Seconds for fetching all files of one job, and half of that for a place to do so.",
    )
    max_tries: int = Field(
        5, ge=1, description="Tries at a busy or broken host; with `Retry-After` until the job's deadline."
    )
    user_agent: str = Field(
        f"sightline/{VERSION} (+https://github.com/sightline-vlm/sightline)",
        pattern=r"^[!-~][ -~]*$",
        description="What fetches and webhooks are sent with; name a contact.",
    )
    max_redirects: int = Field(3, ge=0, description="Redirects followed; each is checked again.")
    allow: Listed[tuple[str, ...]] = Field(
        (),
        description="Hosts or networks exempt from the address guard, comma separated (never 169.254.0.0/16).",
    )
    deny: Listed[tuple[str, ...]] = Field(
        (), description="Hosts (with their subdomains) or networks that are never contacted, comma separated."
    )

    buckets: Listed[tuple[str, ...]] = Field(
        (),
        description="Where callers may name files in buckets, comma separated: s3://bucket/prefix, gs:// or az://. `{caller}` is the caller's id; `CALLER=s3://…` is for one.",
    )

    @property
    def reach(self) -> AddressRules:
        return AddressRules(self.allow, self.deny)

    @property
    def bucket_rules(self) -> BucketRules:
        return BucketRules(self.buckets)

    @field_validator("buckets")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if not may_name_bucket(entry):
                raise ValueError(
                    f"{display_entry(entry)} is not like s3://bucket/prefix or caller=s3://bucket/prefix"
                )
        return value

    @field_validator("allow", "deny")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if not may_match(entry):
                raise ValueError(
                    f"{display_entry(entry)} is neither a host name (ASCII, no port) nor an IP network"
                )
        return value


class WorkerSettings(Group):
    """What one worker process serves."""

    model: str = Field("", description="Id of the model it serves; empty = the first of the models file.")
    id: str = Field("", description="Its name in the records, which a node gives; empty = a new one.")
    row: str = Field("", description="The model's row (JSON), which a node gives; empty = the models file's.")
    threads: int = Field(1, ge=1, description="Cores of a worker on the CPU; leave some for other work.")
    load_limit_s: float = Field(
        3600, gt=0, description="A model that is not loaded after this long, download included, has failed."
    )


class NodeSettings(Group):
    """Which models a machine's node loads, and when it unloads them."""

    memory_mb: int | None = Field(
        None, ge=1, description="Each device's memory for models; default: all free."
    )
    min_resident_s: float = Field(1, ge=0, description="A loaded model stays at least this long.")
    max_wait_s: float = Field(120, gt=0, description="A wait after which models with work leave, too.")


class Settings(BaseSettings):
    """All settings, frozen. See `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    models_file: Path = Field(
        Path("models.toml"),
        description="The models this installation serves. Not set, and no such file: the shipped tiny model.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)] = Field(
        "warning", description="What processes log: debug, info, warning or error."
    )
    log_format: Literal["text", "json"] = Field("text", description="Log lines: text, or json objects.")
    heartbeat_file: Path | None = Field(
        None,
        description="File that a node, worker or courier writes at every heartbeat, for container probes: "
        "loading (a courier always), ready (a node always) or gone.",
    )
    redis: RedisSettings = RedisSettings()
    api: ApiSettings = ApiSettings()
    queue: QueueSettings = QueueSettings()
    retention: RetentionSettings = RetentionSettings()
    blobs: BlobSettings = BlobSettings()
    pictures: PictureSettings = PictureSettings()
    sounds: SoundSettings = SoundSettings()
    documents: DocumentSettings = DocumentSettings()
    videos: VideoSettings = VideoSettings()
    fetch: FetchSettings = FetchSettings()
    webhook: WebhookSettings = WebhookSettings()
    worker: WorkerSettings = WorkerSettings()
    node: NodeSettings = NodeSettings()
    metrics: MetricsSettings = MetricsSettings()
    traces: TraceSettings = TraceSettings()


def known_names() -> set[str]:
    """Every environment name that means something to us."""
    return {name for name, _ in fields()}


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting under its environment name, in the order of declaration."""
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Group):
            yield from ((f"{PREFIX}{name}__{inner}".upper(), f) for inner, f in kind.model_fields.items())
        else:
            yield f"{PREFIX}{name}".upper(), field


def load_settings() -> Settings:
    """Read the environment. Raises SettingsError naming the variable; no message holds a value of redis.url or a key."""
    names = known_names() | {CLIENT_KEY, CLIENT_URL}
    unknown = sorted(n for n in os.environ if n.upper().startswith(PREFIX) and n.upper() not in names)
    if unknown:
        near = get_close_matches(unknown[0].upper(), sorted(known_names()), n=1, cutoff=0.8)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise SettingsError(f"{unknown[0]} is not a setting{meant} docs/settings.md lists them all.")
    try:
        read = Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        # Group and name; what follows is a place inside the value.
        name = PREFIX + "__".join(str(p) for p in first["loc"][:2]).upper()
        raise SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None
    if "models_file" in read.model_fields_set or read.models_file.exists():
        return read
    return read.model_copy(update={"models_file": SHIPPED_MODELS})


@cache
def settings() -> Settings:
    """The process's settings, read once."""
    return load_settings()
