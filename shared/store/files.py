"""The transitions and reads of files, of the holds of their bytes and of pictures; how these are deleted."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pydantic import TypeAdapter

from shared.blobs import BlobMissingError, Blobs, BlobsUnavailable
from shared.file import File, Written
from shared.store.layout import check_layout
from shared.store.records import RecordKind
from shared.store.script import LoopStore, ScriptCall, Store

FILES = RecordKind("files", TypeAdapter(File).validate_python)
file, files = FILES.record, FILES.page
DELETION_POLL_S = 0.02
"""Pause before touching again a picture that is being deleted."""
HOLD_S = 3600
"""How long an upload is safe from collection before its request is admitted."""


def create(written: Written, caller: str) -> ScriptCall[File]:
    """Keep the record of a file whose bytes are written and held."""
    return ScriptCall("file_create", {**vars(written), "caller": caller}, FILES.parse)


def delete(caller: str, id: str) -> ScriptCall[list[str] | None]:
    """Forget a file; returns digests of bytes that nobody needs any more, None where it does not exist."""
    return ScriptCall("file_delete", {"id": id, "caller": caller}, lambda reply: reply)


def keep_thumbnail(caller: str, job: str, picture: str, thumbnail: str, upload: str) -> ScriptCall[bool]:
    """Hold an uploaded thumbnail for as long as its picture; whether a run of the job's still holds that."""
    arguments = {"caller": caller, "job": job, "picture": picture, "digest": thumbnail}
    return ScriptCall("keep_thumbnail", arguments | {"upload": f"upload:{upload}"}, bool)


def touch(digests: Sequence[str], upload: str, *, output: bool = False) -> ScriptCall[list[str]]:
    """Hold pictures for an upload, or for a job's admission, before they are written.

    `output`: they end accepted work, which a full store takes. Returns those that are being deleted right
    now: touch again, and write only when there are none.
    """
    arguments = {"digests": list(digests), "holder": f"upload:{upload}", "hold_s": HOLD_S}
    return ScriptCall("touch_output" if output else "touch", arguments, lambda reply: reply)


def mark_deleted(digests: Sequence[str]) -> ScriptCall[list[str]]:
    """Which of these pictures nobody needs: delete them, then say so (`deleted`)."""
    return ScriptCall("mark_deleted", {"digests": list(digests)}, lambda reply: reply)


def deleted(digests: Sequence[str]) -> ScriptCall[list[str]]:
    """Record that marked pictures are deleted; returns those needed again meanwhile, to be written anew."""
    return ScriptCall("deleted", {"digests": list(digests)}, lambda reply: reply)


def identity() -> ScriptCall[str]:
    """The id of this record store, which is given one now where it has none. Raises LayoutError."""

    def parse(reply: list[Any]) -> str:
        *layout, id = reply
        check_layout(layout)
        return str(id)

    return ScriptCall("identity", {"id": secrets.token_hex(8)}, parse)


def delete_blob(store: Store | LoopStore, blobs: Blobs, name: str) -> bool:
    """Delete bytes that are marked for it; False if they were gone, or a job relies on them again.

    The latter happens if this process was paused for longer than the mark for which uploads wait. If the
    blob store cannot be reached, or is another's, the bytes are left to be collected. Raises Unavailable.
    """
    with suppress(BlobMissingError, BlobsUnavailable):
        if blobs.owner() not in (None, store.run(identity())):
            return False
        aside = blobs.set_aside(name)
        if store.run(deleted([name])):
            blobs.rename(aside, name)
            return False
        blobs.delete(aside)
        return True
    return False
