"""A file that a caller has uploaded, or that a batch has written."""

from dataclasses import dataclass
from typing import Literal

Purpose = Literal["batch", "vision", "user_data", "assistants", "batch_output"]


@dataclass(frozen=True)
class File:
    """A file's record; `size` in bytes, times in Unix ms. `digest` names its bytes and is never shown."""

    id: str
    caller: str
    name: str
    purpose: Purpose
    size: int
    digest: str
    created_ms: int
    expires_ms: int


@dataclass(frozen=True)
class Written:
    """A file whose bytes lie in the blob folder, held by the upload `holder` until it has a record."""

    id: str
    name: str
    purpose: Purpose
    size: int
    digest: str
    life_s: int
    holder: str
