"""The transitions and reads of files, and of the holds of their bytes and of pictures."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, cast

from shared.file import File, Purpose, Written
from shared.store.script import Script, ScriptCall
from shared.store.views import pairs

CREATE, DELETE = Script("file_create"), Script("file_delete")
RECORD, RECORDS = Script("record"), Script("records")
TOUCH, DOOM, DELETED = Script("touch"), Script("doom"), Script("deleted")

T = TypeVar("T")
DELETION_POLL_S = 0.02
"""Pause before touching again a picture that is being deleted."""
HOLD_S = 3600
"""How long an upload is safe from collection before its request is admitted."""


def record(
    kind: Literal["file", "batch"], caller: str, id: str, parse: Callable[[list[Any]], T]
) -> ScriptCall[T | None]:
    """A plain record; None where the caller has no such one."""
    arguments = {"kind": kind, "id": id, "caller": caller}
    return ScriptCall(RECORD, arguments, lambda reply: parse(reply) if reply else None)


def records(
    name: Literal["files", "batches"],
    caller: str,
    parse: Callable[[list[Any]], T],
    *,
    after: str | None,
    limit: int,
    oldest_first: bool = False,
) -> ScriptCall[list[T] | None]:
    """A page of plain records by creation; None where `after` is none of the caller's."""
    arguments = {
        "list": name,
        "caller": caller,
        "after": after,
        "limit": limit,
        "oldest_first": oldest_first,
    }

    def read(reply: list[Any] | None) -> list[T] | None:
        return None if reply is None else [parse(row) for row in reply]

    return ScriptCall(RECORDS, arguments, read)


def create(written: Written, caller: str) -> ScriptCall[File]:
    """Keep the record of a file whose bytes are written and held."""
    return ScriptCall(CREATE, {**vars(written), "caller": caller}, _file)


def file(caller: str, id: str) -> ScriptCall[File | None]:
    """One file; None where the caller has no such file."""
    return record("file", caller, id, _file)


def files(caller: str, *, after: str | None, limit: int, oldest_first: bool) -> ScriptCall[list[File] | None]:
    """A page by creation; None where `after` is not one of the caller's files."""
    return records("files", caller, _file, after=after, limit=limit, oldest_first=oldest_first)


def delete(caller: str, id: str) -> ScriptCall[list[str] | None]:
    """Forget a file; returns digests of bytes that nobody needs any more, None where it does not exist."""
    return ScriptCall(DELETE, {"id": id, "caller": caller}, lambda reply: reply)


def touch(digests: Sequence[str], upload: str) -> ScriptCall[list[str]]:
    """Hold pictures for an upload, or for a job's admission, before they are written.

    Returns those that are being deleted right now: touch again, and write only when there are none.
    """
    arguments = {"digests": list(digests), "holder": f"upload:{upload}", "hold_s": HOLD_S}
    return ScriptCall(TOUCH, arguments, lambda reply: reply)


def doom(digests: Sequence[str]) -> ScriptCall[list[str]]:
    """Which of these pictures nobody needs: delete them, then say so (`deleted`)."""
    return ScriptCall(DOOM, {"digests": list(digests)}, lambda reply: reply)


def deleted(digests: Sequence[str]) -> ScriptCall[list[str]]:
    """Record that doomed pictures are deleted; returns those needed again meanwhile, to be written anew."""
    return ScriptCall(DELETED, {"digests": list(digests)}, lambda reply: reply)


def _file(flat: list[Any]) -> File:
    fields = pairs(flat)
    return File(
        id=fields["id"],
        caller=fields["caller"],
        name=fields["name"],
        purpose=cast(Purpose, fields["purpose"]),
        size=int(fields["size"]),
        digest=fields["digest"],
        created_ms=int(fields["created"]),
        expires_ms=int(fields["expires"]),
    )
