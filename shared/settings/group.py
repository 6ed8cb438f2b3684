"""The base class of the groups of settings, and the types and checks that several of them use."""

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FilePath,
    SecretStr,
    ValidationInfo,
)
from pydantic_settings import NoDecode

T = TypeVar("T")


class Group(BaseModel):
    """Settings under one prefix, frozen; an unknown name is an error."""

    # An input may be a URL with a password in it; and infinity is no whole number of milliseconds or bytes.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


def _split(value: Any) -> Any:
    return tuple(p.strip() for p in value.split(",") if p.strip()) if isinstance(value, str) else value


def _hard_to_guess(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{32,}", value.get_secret_value()):
        raise ValueError("should have at least 32 visible ASCII characters")
    return value


Listed = Annotated[T, NoDecode, BeforeValidator(_split)]
"""Several values, comma separated."""
BearerSecret = Annotated[SecretStr, AfterValidator(_hard_to_guess)]
"""At least 32 visible ASCII characters."""


def _with_certificate(key: Path | None, info: ValidationInfo) -> Path | None:
    if (key is None) != (info.data.get("tls_cert") is None):
        raise ValueError("a certificate and its private key are set together or not at all")
    return key


TlsKey = Annotated[FilePath | None, AfterValidator(_with_certificate)]
"""The private key of the certificate in `tls_cert`."""


def display_entry(entry: str) -> str:
    """One of several values, for a message: before an `@` there may be a password."""
    return "what has an `@`" if "@" in entry else repr(entry)
