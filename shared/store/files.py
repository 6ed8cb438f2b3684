"""The transitions and reads of files, and of the holds of their bytes and of pictures."""

from collections.abc import Sequence

from pydantic import TypeAdapter

from shared.file import File, Written
from shared.store.records import RecordKind
from shared.store.script import Script, ScriptCall

CREATE, DELETE = Script("file_create"), Script("file_delete")
KEEP_THUMBNAIL = Script("keep_thumbnail")
TOUCH, TOUCH_OUTPUT = Script("touch"), Script("touch_output")
MARK_DELETED, DELETED = Script("mark_deleted"), Script("deleted")

FILES = RecordKind("files", TypeAdapter(File).validate_python)
file, files = FILES.record, FILES.page
DELETION_POLL_S = 0.02
"""Pause before touching again a picture that is being deleted."""
HOLD_S = 3600
"""How long an upload is safe from collection before its request is admitted."""


def create(written: Written, caller: str) -> ScriptCall[File]:
    """Keep the record of a file whose bytes are written and held."""
    return ScriptCall(CREATE, {**vars(written), "caller": caller}, FILES.parse)


def delete(caller: str, id: str) -> ScriptCall[list[str] | None]:
    """Forget a file; returns digests of bytes that nobody needs any more, None where it does not exist."""
    return ScriptCall(DELETE, {"id": id, "caller": caller}, lambda reply: reply)


def keep_thumbnail(caller: str, job: str, picture: str, thumbnail: str, upload: str) -> ScriptCall[bool]:
    """Hold an uploaded thumbnail for as long as its picture; whether a run of the job's still holds that."""
    arguments = {"caller": caller, "job": job, "picture": picture, "digest": thumbnail}
    return ScriptCall(KEEP_THUMBNAIL, arguments | {"upload": f"upload:{upload}"}, bool)


def touch(digests: Sequence[str], upload: str, *, output: bool = False) -> ScriptCall[list[str]]:
    """Hold pictures for an upload, or for a job's admission, before they are written.

    `output`: they end accepted work, which a full store takes. Returns those that are being deleted right
    now: touch again, and write only when there are none.
    """
    arguments = {"digests": list(digests), "holder": f"upload:{upload}", "hold_s": HOLD_S}
    return ScriptCall(TOUCH_OUTPUT if output else TOUCH, arguments, lambda reply: reply)


def mark_deleted(digests: Sequence[str]) -> ScriptCall[list[str]]:
    """Which of these pictures nobody needs: delete them, then say so (`deleted`)."""
    return ScriptCall(MARK_DELETED, {"digests": list(digests)}, lambda reply: reply)


def deleted(digests: Sequence[str]) -> ScriptCall[list[str]]:
    """Record that marked pictures are deleted; returns those needed again meanwhile, to be written anew."""
    return ScriptCall(DELETED, {"digests": list(digests)}, lambda reply: reply)
