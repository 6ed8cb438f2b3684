"""Notices as the store keeps them, and the log that a caller reads them from."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.job import JobView
from shared.store.script import ScriptCall
from shared.store.views import job_error, pairs, read_result
from shared.webhooks import Notice

PAGE_BYTES = 2 * 2**20
"""A page whose records have this many bytes is full."""
# Other keys than those of notices begin with ids as well, and not all of them are hashes.
_KEY = re.compile(r"(?!run_)[a-z]+_[0-9a-f]+:(began|ended|sent)")


def message_id(key: str) -> str:
    """The `webhook-id` of every call of a notice; a job's id stands in it without `job_`."""
    return "msg_" + key.removeprefix("job_").replace(":", "_")


def key_of(id: str) -> str | None:
    """The key of the notice with this id, which a stranger may have typed; None where it cannot be one."""
    subject, _, kind = id.removeprefix("msg_").rpartition("_")
    key = f"{subject if '_' in subject else 'job_' + subject}:{kind}"
    return key if id.startswith("msg_") and _KEY.fullmatch(key) else None


def notice(key: str, flat: list[Any]) -> Notice:
    """One record."""
    fields = pairs(flat)
    subject = key.partition(":")[0]
    return Notice(
        id=message_id(key),
        type=fields["type"],
        at_ms=int(fields["at"]),
        subject=subject,
        job=_job(subject, fields) if "model" in fields else None,
        data=fields.get("data"),
        request_id=fields.get("request_id", ""),
        trace=fields.get("trace", ""),
    )


def _job(id: str, fields: dict[str, str]) -> JobView:
    status, created = fields["type"].partition(".")[2], int(fields["created"])
    return JobView(
        id=id,
        caller=fields["caller"],
        model=fields["model"],
        status=status,  # type: ignore[arg-type]
        created_ms=created,
        started_ms=max(int(fields["started"]), created) if "started" in fields else None,
        ended_ms=None if status == "running" else int(fields["at"]),
        cache=fields.get("cache"),  # type: ignore[arg-type]
        result=read_result(fields["result"]) if "result" in fields else None,
        error=job_error(fields["error"], fields.get("paths")) if "error" in fields else None,
        metadata=json.loads(fields["metadata"]),
        retry_of=fields.get("retry_of"),
        bytes=len(fields.get("result", "")),
    )


@dataclass(frozen=True)
class NoticePage:
    """Some of a log; `next` is the key to go on behind, None at the end; `bytes` is the records' size."""

    notices: tuple[Notice, ...]
    next: str | None
    bytes: int


def page(
    caller: str, *, after: str | None, types: Sequence[str], limit: int, room: int = PAGE_BYTES
) -> ScriptCall[NoticePage | None]:
    """At most `limit` notices behind the key `after`, oldest first; None where the log does not hold it.

    `types` are names of events, `<kind>.*` is all of a kind; without any all are read. A page is full at
    `room` bytes of records; one short of `limit` need not be the last.
    """
    arguments = {
        "caller": caller,
        "after": after,
        "types": " ".join(types) or None,
        "limit": limit,
        "bytes": room,
    }

    def parse(reply: list[Any] | None) -> NoticePage | None:
        if not reply:
            return None
        rows, following, size = reply
        return NoticePage(tuple(notice(key, flat) for key, flat in rows), following or None, size)

    return ScriptCall("notices", arguments, parse, size=lambda reply: int(reply[2]) if reply else 0)
