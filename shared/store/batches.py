"""The transitions of batches: what callers ask for, and what a process that works on a batch does."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from shared.batch import WINDOW_S, Batch, BatchLease, LineAnswer, LinePosition, LineProblem, WrittenRows
from shared.file import Written
from shared.result import JobError
from shared.settings import Settings
from shared.store import batch_views
from shared.store.files import RECORD, RECORDS
from shared.store.lifetimes import lifetimes
from shared.store.script import Script, ScriptCall

CREATE, CANCEL, TAKE, KEEP = (Script(f"batch_{verb}") for verb in ("create", "cancel", "take", "keep"))
BEGIN, FAIL, REFUSE, LINES = (Script(f"batch_{verb}") for verb in ("begin", "fail", "refuse", "lines"))
WROTE, PIECES, END, MISS = (Script(f"batch_{verb}") for verb in ("wrote", "pieces", "end", "miss"))

WINDOW = 256
"""Lines of one batch on their way at once."""
MOST = 100
"""Batches that one caller may have under way at once: they take turns, and each turn may be long."""
LEASE_S = 10.0
"""A batch whose process is silent for this long goes to another process."""
Outcome = Literal["written", "lost"]


def create(
    settings: Settings, batch: Batch, body: str | None = None
) -> ScriptCall[tuple[Literal["missing", "purpose", "many", "mismatch", "created"], Batch | None]]:
    """Begin a batch; its times are the store's clock.

    `body` is the digest of the request's body where the id stands for an idempotency key.
    """
    arguments = {
        "id": batch.id,
        "caller": batch.caller,
        "file": batch.file,
        "endpoint": batch.endpoint,
        "window_s": WINDOW_S,
        "metadata": json.dumps(batch.metadata, ensure_ascii=False, separators=(",", ":")),
        "max_queued": batch.max_queued,
        "retain_s": batch.retain_s,
        "life_s": batch.life_s,
        "kept_s": batch.retain_s or max(batch.life_s, settings.retention.job_s),
        "most": MOST,
        "body": body,
    }
    return ScriptCall(
        CREATE,
        arguments,
        lambda reply: (reply[0], batch_views.batch(reply[1]) if len(reply) > 1 else None),
    )


def batch(caller: str, id: str) -> ScriptCall[Batch | None]:
    """One batch; None where the caller has no such batch."""
    return ScriptCall(RECORD, {"kind": "batch", "id": id, "caller": caller}, batch_views.known)


def batches(caller: str, *, after: str | None, limit: int) -> ScriptCall[list[Batch] | None]:
    """A page, newest first; None where `after` is not one of the caller's batches."""
    arguments = {"list": "batches", "caller": caller, "after": after, "limit": limit, "oldest_first": False}

    def parse(reply: list[Any] | None) -> list[Batch] | None:
        return None if reply is None else [batch_views.batch(row) for row in reply]

    return ScriptCall(RECORDS, arguments, parse)


def cancel(caller: str, id: str) -> ScriptCall[Batch | None]:
    """Take no more lines; what was done is kept. None where the caller has no such batch."""
    return ScriptCall(CANCEL, {"id": id, "caller": caller}, batch_views.known)


def take(settings: Settings, token: str) -> ScriptCall[BatchLease | float | None]:
    """Take a batch to work on: callers take turns, and so do the batches of each.

    Where none can be taken now: the seconds until one can, or None where there is no batch.
    """
    arguments = {
        "token": token,
        "lease_ms": LEASE_S * 1000,
        "window": WINDOW,
        "max_queued": settings.queue.max_queued,
        "max_queued_caller": settings.queue.max_queued_caller,
    }

    def parse(reply: list[Any]) -> BatchLease | float | None:
        if reply[0] == "none":
            return None if reply[1] == "" else float(reply[1]) / 1000
        return batch_views.turn(reply[1:], token)

    return ScriptCall(TAKE, arguments, parse)


def keep(turn: BatchLease, seconds: float, *, leave: bool = False) -> ScriptCall[Literal["kept", "lost"]]:
    """Hold a batch for `seconds`; with `leave` give it up, and let it be taken again after `seconds`."""
    arguments = {**_holder(turn), "ms": round(seconds * 1000), "leave": leave or None}
    return ScriptCall(KEEP, arguments, lambda reply: reply)


def begin(
    turn: BatchLease,
    *,
    total: int,
    last: int,
    doubles: Sequence[int] = (),
    errors: Sequence[LineProblem] = (),
) -> ScriptCall[Outcome]:
    """Record that the batch's file was looked through: its lines may be taken."""
    arguments = {
        **_holder(turn),
        "total": total,
        "last": last,
        "doubles": list(doubles),
        "errors": _errors(errors) if errors else None,
    }
    return ScriptCall(BEGIN, arguments, lambda reply: reply)


def miss(turn: BatchLease, patience_s: float) -> ScriptCall[Outcome]:
    """Record that bytes of the batch are missing; after `patience_s` they are given up."""
    arguments = {**_holder(turn), "patience_ms": round(patience_s * 1000)}
    return ScriptCall(MISS, arguments, lambda reply: reply)


def fail(settings: Settings, turn: BatchLease, errors: Sequence[LineProblem]) -> ScriptCall[Outcome]:
    """End a batch of which no line, or no further line, can be taken."""
    arguments = {**_holder(turn), "errors": _errors(errors), **lifetimes(settings)}
    return ScriptCall(FAIL, arguments, lambda reply: reply)


def refuse(turn: BatchLease, place: LinePosition, error: JobError) -> ScriptCall[Outcome]:
    """Answer the next line with an error: it becomes no job."""
    arguments = {
        **_holder(turn),
        "number": str(place.number),
        "at": str(place.at),
        "behind": str(place.behind),
        "custom_id": place.custom_id or None,
        "error": error.model_dump_json(),
    }
    return ScriptCall(REFUSE, arguments, lambda reply: reply)


def answered(turn: BatchLease, limit: int) -> ScriptCall[list[LineAnswer] | None]:
    """Lines that have ended and are not written down yet; None where the batch is another process's."""
    return ScriptCall(LINES, {**_holder(turn), "answered": True, "limit": limit}, batch_views.answers)


def under_way(turn: BatchLease) -> ScriptCall[list[str] | None]:
    """The jobs of lines that have not ended; None where the batch is another process's."""
    return ScriptCall(LINES, {**_holder(turn), "answered": False, "limit": 2 * WINDOW}, batch_views.jobs)


def wrote(turn: BatchLease, wrote: WrittenRows) -> ScriptCall[Outcome]:
    """Count lines whose answers are written down; they are no longer under way."""
    undone = wrote.undone and {name: str(value) for name, value in vars(wrote.undone).items()}
    arguments = {
        **_holder(turn),
        "numbers": [str(number) for number in wrote.numbers],
        "undone": undone,
        "completed": wrote.completed,
        "failed": wrote.failed,
        "late": wrote.late,
        "input_tokens": wrote.tokens.input,
        "output_tokens": wrote.tokens.output,
        "cached_tokens": wrote.tokens.cached,
        "good": wrote.good,
        "bad": wrote.bad,
        "holder": f"upload:{turn.token}",
    }
    return ScriptCall(WROTE, arguments, lambda reply: reply)


def pieces(turn: BatchLease) -> ScriptCall[tuple[list[str], list[str]] | None]:
    """The digests of both files' pieces, output before errors; None where the batch is another process's."""
    return ScriptCall(PIECES, _holder(turn), lambda reply: None if reply is None else (reply[0], reply[1]))


def end(
    settings: Settings, turn: BatchLease, *, output: Written | None, error: Written | None
) -> ScriptCall[Outcome]:
    """End a batch whose lines are all written down, with the records of its files."""
    arguments = {
        **_holder(turn),
        "output": _written(output, turn),
        "error": _written(error, turn),
        **lifetimes(settings),
    }
    return ScriptCall(END, arguments, lambda reply: reply)


def _errors(errors: Sequence[LineProblem]) -> str:
    return json.dumps([asdict(error) for error in errors])


def _holder(turn: BatchLease) -> dict[str, Any]:
    return {"id": turn.batch.id, "token": turn.token}


def _written(file: Written | None, turn: BatchLease) -> dict[str, Any] | None:
    return None if file is None else {**vars(file), "caller": turn.batch.caller}
