"""The front end's settings; see `settings`."""

import re
from functools import cache

from pydantic import Field, FilePath, ValidationInfo, field_validator

from shared.cgroup import memory_bytes
from shared.settings.group import BearerSecret, Group, Listed, TlsKey, display_entry

# As browsers write it: no path, no credentials.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@?#,*\\]+")


@cache
def _body_mb() -> float:
    return float(min(200, max(50, memory_bytes() // 2**27)))


class ApiSettings(Group):
    """The HTTP front end."""

    sync_limit_s: float = Field(3600, gt=0, description="After this wait a synchronous call gets 504.")
    leave_grace_s: float = Field(
        30,
        ge=0,
        description="How long the job of a synchronous caller that disconnected before any text goes on; "
        "the same call again finds it.",
    )
    max_open: int = Field(8000, ge=1, description="Open requests of one API process, streams included.")
    body_limit_mb: float | None = Field(
        None,
        gt=0,
        description="Largest request body. Not set: a 128th of the memory that the API may use, 50 to 200.",
    )
    upload_limit_s: float = Field(60, gt=0, description="Longest a body may take to arrive.")
    file_limit_mb: float = Field(200, gt=0, description="Largest file; it may take longer than a body.")
    keepalive_s: float = Field(
        10,
        gt=0,
        description="Pause between comments on an idle stream, and between line breaks before a whole answer "
        "that was asked for with `Prefer: wait`.",
    )
    head_start_s: float = Field(1, gt=0, description="A stream's headers wait for its first event or this.")
    text_limit_kb: int = Field(1024, ge=1, description="All text of one request, in KiB of UTF-8.")
    admin_key: BearerSecret | None = Field(
        None,
        description="Turns API keys on, and is the first of them: it may do everything and creates the "
        "others; 32 visible ASCII characters or more.",
    )
    open: bool = Field(
        False,
        validate_default=True,
        description="true: without API keys, answer everyone that reaches the port, not only this machine.",
    )
    cors_origins: Listed[tuple[str, ...]] = Field(
        (),
        description="Origins of web pages that may call this service from a browser, comma separated, each "
        "like `https://app.example.com`; `*` = every page, only with API keys or SIGHTLINE_API__OPEN.",
    )
    tls_cert: FilePath | None = Field(None, description="PEM certificate with its chain: turns https on.")
    tls_key: TlsKey = Field(None, validate_default=True, description="Its key, without a passphrase.")
    hsts_s: int = Field(
        0, ge=0, description="Seconds of Strict-Transport-Security for browsers that use https; 0 = not sent."
    )

    @property
    def body_mb(self) -> float:
        return self.body_limit_mb or _body_mb()

    @field_validator("open")
    @classmethod
    def _not_with_keys(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("admin_key") is not None:
            raise ValueError("says that no key is asked for, but SIGHTLINE_API__ADMIN_KEY is set")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # Browsers write theirs in small letters.
        value = tuple(entry.lower() for entry in value)
        for entry in value:
            if entry != "*" and not _ORIGIN.fullmatch(entry):
                raise ValueError(f"{display_entry(entry)} is not an origin such as https://app.example.com")
        if "*" in value and info.data.get("admin_key") is None and not info.data.get("open"):
            raise ValueError("`*` without API keys lets every web page use this service")
        return value
