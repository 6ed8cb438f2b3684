"""The transitions and reads of files."""

from typing import Any, cast

from shared.file import File, Purpose, Written
from shared.store.script import Script, ScriptCall
from shared.store.views import pairs

CREATE, DELETE = Script("file_create"), Script("file_delete")
RECORD, RECORDS = Script("record"), Script("records")


def create(written: Written, caller: str) -> ScriptCall[File]:
    """Keep the record of a file whose bytes are written and held."""
    return ScriptCall(CREATE, {**vars(written), "caller": caller}, _file)


def file(caller: str, id: str) -> ScriptCall[File | None]:
    """One file; None where the caller has no such file."""
    return ScriptCall(
        RECORD, {"kind": "file", "id": id, "caller": caller}, lambda reply: _file(reply) if reply else None
    )


def files(caller: str, *, after: str | None, limit: int, oldest_first: bool) -> ScriptCall[list[File] | None]:
    """A page by creation; None where `after` is not one of the caller's files."""
    arguments = {
        "list": "files",
        "caller": caller,
        "after": after,
        "limit": limit,
        "oldest_first": oldest_first,
    }

    def parse(reply: list[Any] | None) -> list[File] | None:
        return None if reply is None else [_file(row) for row in reply]

    return ScriptCall(RECORDS, arguments, parse)


def delete(caller: str, id: str) -> ScriptCall[list[str] | None]:
    """Forget a file; returns digests of bytes that nobody needs any more, None where it does not exist."""
    return ScriptCall(DELETE, {"id": id, "caller": caller}, lambda reply: reply)


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
