"""/v1/files: what callers upload and download. Times are Unix seconds."""

from typing import Literal

from typing_extensions import TypedDict

from api.dialects.fields import PageAnswer
from api.dialects.strict_json import invalid, unsupported_kind
from shared.file import File, Purpose

UPLOADED: tuple[Purpose, ...] = ("batch", "vision", "user_data", "assistants")
"""The last is what the AI SDK says of any file."""
OTHERS = ("evals", "fine-tune")
"""OpenAI's purposes that this service has no use for."""
LEAST_LIFE_S, LONGEST_LIFE_S = 3600, 30 * 86_400
EXPIRES = "expires_after"
ANCHOR, SECONDS = f"{EXPIRES}[anchor]", f"{EXPIRES}[seconds]"
MAX_NAME = 255
MAX_DIGITS = 10


def from_fields(fields: dict[str, str]) -> tuple[Purpose, int | None]:
    """The purpose, and the seconds to keep the file or None. Raises CallerError naming the field."""
    purpose = fields.get("purpose")
    if purpose is None:
        raise invalid("purpose", "is required")
    if purpose in OTHERS:
        raise unsupported_kind("purpose", purpose)
    if purpose not in UPLOADED:
        raise invalid("purpose", f"should be one of {', '.join(UPLOADED)}")
    if SECONDS not in fields and ANCHOR not in fields:
        return purpose, None
    seconds = fields.get(SECONDS, "")
    # A form's numbers are text, of any length.
    number = int(seconds) if seconds.isascii() and seconds.isdecimal() and len(seconds) < MAX_DIGITS else None
    return purpose, to_life(fields.get(ANCHOR), number, EXPIRES)


def to_life(anchor: str | None, seconds: int | None, at: str) -> int:
    """What `expires_after` and its like say, in seconds. Raises CallerError naming the field `at`."""
    if anchor != "created_at":
        raise invalid(at, "should have the anchor created_at")
    if seconds is None or not LEAST_LIFE_S <= seconds <= LONGEST_LIFE_S:
        raise invalid(at, f"should have seconds from {LEAST_LIFE_S} to {LONGEST_LIFE_S}")
    return seconds


def to_name(path: str) -> str:
    """A file's name as it is shown: without folders and unprintable characters."""
    last = path.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[:MAX_NAME] or "upload"


class FileObject(TypedDict):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Purpose
    status: Literal["processed"]
    status_details: str | None


class FileList(PageAnswer):
    data: list[FileObject]


class FileDeleted(TypedDict):
    id: str
    object: Literal["file"]
    deleted: bool


def to_file(file: File) -> FileObject:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_ms // 1000,
        "expires_at": file.expires_ms // 1000,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def to_deleted(id: str) -> FileDeleted:
    return {"id": id, "object": "file", "deleted": True}
