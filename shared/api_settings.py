"""The front end's settings; see `settings`."""

import re

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator


class Group(BaseModel):
    # An input may be a URL with a password in it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


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
    text_limit_kb: int = Field(
        256, ge=1, description="All texts of one request together, in KiB of UTF-8; pictures are not counted."
    )
    admin_key: SecretStr | None = Field(
        None,
        description="Turns API keys on, and is the first of them: it may do everything and makes the others; "
        "32 visible ASCII characters or more.",
    )
    open: bool = Field(
        False,
        validate_default=True,
        description="true: without API keys, answer everybody who reaches the port, not this machine alone.",
    )

    @field_validator("admin_key")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]{32,}", value.get_secret_value()):
            raise ValueError("should have at least 32 visible ASCII characters")
        return value

    @field_validator("open")
    @classmethod
    def _not_with_keys(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("admin_key") is not None:
            raise ValueError("says that no key is asked for, but SIGHTLINE_API__ADMIN_KEY is set")
        return value
