"""The settings of the record store; `shared.settings` puts them among the others."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import Field, FilePath, SecretStr, ValidationInfo, field_validator

from shared.settings.group import Group, TlsKey

# The parts of a Redis URL. No error's text ever holds the URL: it may hold a password.

SENTINEL_PORT = 26379
_SENTINELS = re.compile(
    r"(?P<tls>rediss?)\+sentinel://(?P<user>[^@/?#]*@)?(?P<hosts>[^@/?#]+)/(?P<name>[^@/?#]+)(?P<rest>[/?][^#]*)?"
)


class Sentinels(NamedTuple):
    """Who knows the primary's address, and the name by which they know it."""

    hosts: tuple[tuple[str, int], ...]
    name: str


def sentinels(url: str) -> tuple[str, Sentinels | None]:
    """The URL as if the first Sentinel were the server, and the Sentinels. Raises ValueError.

    rediss://USER:PASSWORD@HOST:PORT/DATABASE of rediss+sentinel://USER:PASSWORD@HOST:PORT,…/NAME/DATABASE.
    """
    if (found := _SENTINELS.fullmatch(url)) is None:
        return url, None
    hosts = [urlsplit(f"//{host}") for host in found["hosts"].split(",")]
    if not all(host.hostname for host in hosts):
        raise ValueError
    places = tuple((host.hostname or "", host.port or SENTINEL_PORT) for host in hosts)
    first = found["hosts"].partition(",")[0]
    alone = f"{found['tls']}://{found['user'] or ''}{first}{found['rest'] or ''}"
    return alone, Sentinels(places, found["name"])


def split(url: SecretStr) -> SplitResult:
    """Of the server, or of the first Sentinel. Raises ValueError."""
    try:
        parts = urlsplit(sentinels(url.get_secret_value())[0])
        is_redis = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
        # At a `#`, `/` or `?` of the password the server's name would end, and a piece of it be connected to.
        # Behind a database's number nothing of the password is left.
        whole = not parts.fragment and ("@" not in parts.query or parts.path.strip("/").isdigit())
        if is_redis and whole and database(parts) >= 0:
            return parts
    except ValueError:
        # Its text may quote the password.
        pass
    raise ValueError(
        "should be redis://HOST:PORT/DATABASE or rediss://HOST:PORT/DATABASE, or with Sentinels "
        "redis+sentinel://HOST:PORT,HOST:PORT/NAME/DATABASE or rediss+sentinel://…; "
        "in a password write # as %23, / as %2F, ? as %3F and @ as %40"
    )


def database(parts: SplitResult) -> int:
    """As redis-py reads it: `?db=` comes before the path."""
    return int(parse_qs(parts.query).get("db", [parts.path.strip("/") or "0"])[0])


def to_connect(parts: SplitResult, number: int, tls: Mapping[str, str]) -> str:
    """One database of the server, with what its clients are to know of TLS (`ssl_ca_certs`, …).

    Whether the server's certificate is asked for stands there in any case: Celery speaks no TLS without.
    """
    options = {name: value for name, value in parse_qsl(parts.query) if name != "db"}
    ssl_defaults = {"ssl_cert_reqs": "required"} if parts.scheme == "rediss" else {}
    return urlunsplit(parts._replace(path=f"/{number}", query=urlencode(ssl_defaults | options | dict(tls))))


Acknowledge = Literal["replica", "disk"]


class RedisSettings(Group):
    """Where the records live; the Celery broker uses another database of the same server."""

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis >= 7.0 or Valkey, with AOF on: redis://USER:PASSWORD@HOST:PORT/DATABASE, or "
        "rediss:// for TLS; where Sentinels name the primary, redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT"
        "/NAME/DATABASE, with ?sentinel_username= and &sentinel_password= where they want some.",
    )
    tls_ca: FilePath | None = Field(
        None,
        description="Authorities (PEM) that the server's certificate is checked against; by default "
        "the system's.",
    )
    tls_cert: FilePath | None = Field(None, description="Our certificate, if the server asks for one.")
    tls_key: TlsKey = Field(None, validate_default=True, description="Its private key.")
    broker_db: int | None = Field(
        None,
        ge=0,
        description="Database number of the Celery broker on the same server; by default the next one "
        "after the records'.",
    )
    acknowledge: Literal["memory"] | Acknowledge = Field(
        "memory",
        description="What holds a job before its caller learns that it is accepted, or has ended: the "
        "server's memory, every replica that follows it too, or its disk.",
    )
    full_at: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Share of the server's maxmemory at which new work is refused; without one none is.",
    )

    @field_validator("url")
    @classmethod
    def _known_form(cls, value: SecretStr) -> SecretStr:
        split(value)
        return value

    @field_validator("broker_db")
    @classmethod
    def _not_the_records(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and "url" in info.data and value == database(split(info.data["url"])):
            raise ValueError(f"the records are in database {value} already; the broker needs another")
        return value

    @field_validator("tls_ca", "tls_cert")
    @classmethod
    def _over_tls(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and "url" in info.data and split(info.data["url"]).scheme != "rediss":
            raise ValueError("means nothing without TLS: SIGHTLINE_REDIS__URL should begin with rediss://")
        return value

    @property
    def store_url(self) -> str:
        """The records' URL as `shared.store.clients` takes it; it may hold a password."""
        return self._url(database(split(self.url)))

    @property
    def broker_url(self) -> str:
        """The Celery broker's URL: the records' server, another database."""
        number = database(split(self.url)) + 1 if self.broker_db is None else self.broker_db
        return self._url(number)

    def _url(self, number: int) -> str:
        alone = to_connect(split(self.url), number, self._tls)
        if (found := _SENTINELS.fullmatch(self.url.get_secret_value())) is None:
            return alone
        parts = urlsplit(alone)
        return urlunsplit(
            parts._replace(
                scheme=f"{parts.scheme}+sentinel",
                netloc=f"{found['user'] or ''}{found['hosts']}",
                path=f"/{found['name']}{parts.path}",
            )
        )

    @property
    def _tls(self) -> dict[str, str]:
        files = {"ssl_ca_certs": self.tls_ca, "ssl_certfile": self.tls_cert, "ssl_keyfile": self.tls_key}
        return {name: str(path) for name, path in files.items() if path is not None}
