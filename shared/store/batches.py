"""The transitions of batches: what callers ask for, and what a process that works on a batch does."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, cast

from shared.batch import (
    WINDOW_S,
    Batch,
    BatchLease,
    LineAnswer,
    LinePosition,
    LineProblem,
    Stage,
    Tokens,
    WrittenRows,
)
from shared.file import Written
from shared.result import JobError, Result
from shared.settings import Settings
from shared.store.constants import constants
from shared.store.files import record, records
from shared.store.script import Script, ScriptCall
from shared.store.views import integer, job_error, pairs

CREATE, CANCEL, TAKE, KEEP, BEGIN = (
    Script(f"batch_{verb}") for verb in ("create", "cancel", "take", "keep", "begin")
)
READ, REFUSE, WROTE, END = (Script(f"batch_{verb}") for verb in ("read", "refuse", "wrote", "end"))

WINDOW = 256
"""Lines of one batch on their way at once."""
MOST = 100
"""Batches that one caller may have under way at once: they take turns, and each turn may be long."""
LEASE_S = 10.0
"""A batch whose process is silent for this long goes to another process."""
Outcome = Literal["written", "kept", "lost"]


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
        CREATE, arguments, lambda reply: (reply[0], _batch(reply[1]) if len(reply) > 1 else None)
    )


def batch(caller: str, id: str) -> ScriptCall[Batch | None]:
    """One batch; None where the caller has no such batch."""
    return record("batch", caller, id, _batch)


def batches(caller: str, *, after: str | None, limit: int) -> ScriptCall[list[Batch] | None]:
    """A page, newest first; None where `after` is not one of the caller's batches."""
    return records("batches", caller, _batch, after=after, limit=limit)


def cancel(caller: str, id: str) -> ScriptCall[Batch | None]:
    """Take no more lines; what was done is kept. None where the caller has no such batch."""
    return ScriptCall(CANCEL, {"id": id, "caller": caller}, lambda reply: _batch(reply) if reply else None)


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
        fields, doubles, *counts = reply[1:]
        return BatchLease(_batch(fields), token, frozenset(map(int, doubles)), *map(int, counts))

    return ScriptCall(TAKE, arguments, parse)


def keep(turn: BatchLease, seconds: float, *, leave: bool = False) -> ScriptCall[Outcome]:
    """Hold a batch for `seconds`; with `leave` give it up, and let it be taken again after `seconds`."""
    return _step(KEEP, turn, ms=round(seconds * 1000), leave=leave or None)


def miss(turn: BatchLease, patience_s: float) -> ScriptCall[Outcome]:
    """Record that bytes of the batch are missing; after `patience_s` they are given up."""
    return _step(KEEP, turn, patience_ms=round(patience_s * 1000))


def begin(
    turn: BatchLease,
    *,
    total: int | None = None,
    last: int = 0,
    doubles: Sequence[int] = (),
    errors: Sequence[LineProblem] = (),
) -> ScriptCall[Outcome]:
    """Record what a look through the batch's file found; with `total` its lines may be taken.

    Of many doubles some thousand are given at a time, before that.
    """
    return _step(BEGIN, turn, total=total, last=last, doubles=list(doubles), errors=_errors(errors))


def fail(settings: Settings, turn: BatchLease, errors: Sequence[LineProblem]) -> ScriptCall[Outcome]:
    """End a batch of which no line, or no further line, can be taken."""
    return replace(_step(END, turn, errors=_errors(errors)), constants=constants(settings))


def refuse(turn: BatchLease, place: LinePosition, error: JobError) -> ScriptCall[Outcome]:
    """Answer the next line with an error: it becomes no job."""
    numbers = {name: str(getattr(place, name)) for name in ("number", "at", "behind")}
    return _step(REFUSE, turn, **numbers, custom_id=place.custom_id or None, error=error.model_dump_json())


def answered(turn: BatchLease, limit: int) -> ScriptCall[list[LineAnswer] | None]:
    """Lines that have ended and are not written down yet; None where the batch is another process's."""

    def parse(reply: list[Any] | None) -> list[LineAnswer] | None:
        return None if reply is None else [_answer(*row) for row in zip(*reply, strict=True)]

    return _step(READ, turn, parse, answers=limit)


def under_way(turn: BatchLease) -> ScriptCall[list[str] | None]:
    """The jobs of lines that have not ended; None where the batch is another process's."""

    def parse(reply: list[Any] | None) -> list[str] | None:
        if reply is None:
            return None
        ended = set(reply[1])
        return [json.loads(line)["job"] for number, line in pairs(reply[0]).items() if number not in ended]

    return _step(READ, turn, parse)


def wrote(turn: BatchLease, wrote: WrittenRows) -> ScriptCall[Outcome]:
    """Count lines whose answers are written down; they are no longer under way."""
    counts = {name: getattr(wrote, name) for name in ("completed", "failed", "late")}
    counts |= {f"{kind}_tokens": count for kind, count in vars(wrote.tokens).items()}
    return _step(
        WROTE,
        turn,
        numbers=[str(number) for number in wrote.numbers],
        undone=wrote.undone and {name: str(value) for name, value in vars(wrote.undone).items()},
        counts=counts,
        good=wrote.good,
        bad=wrote.bad,
        upload=turn.token,
    )


def pieces(turn: BatchLease) -> ScriptCall[tuple[list[str], list[str]] | None]:
    """The digests of both files' pieces, output before errors; None where the batch is another process's."""
    return _step(READ, turn, lambda reply: None if reply is None else (reply[2], reply[3]))


def end(
    settings: Settings, turn: BatchLease, *, output: Written | None, error: Written | None
) -> ScriptCall[Outcome]:
    """End a batch whose lines are all written down, with the records of its files."""
    files = {"output": output, "error": error}
    kept = {kind: file and {**vars(file), "caller": turn.batch.caller} for kind, file in files.items()}
    return replace(_step(END, turn, **kept), constants=constants(settings))


def _step(
    script: Script, turn: BatchLease, parse: Callable[[Any], Any] = lambda reply: reply, /, **arguments: Any
) -> ScriptCall[Any]:
    """A step of the process that holds the lease."""
    return ScriptCall(script, {"id": turn.batch.id, "token": turn.token, **arguments}, parse)


def _errors(errors: Sequence[LineProblem]) -> str | None:
    return json.dumps([asdict(error) for error in errors]) if errors else None


def _batch(flat: list[Any]) -> Batch:
    fields = pairs(flat)
    stages = {name.removesuffix("_at"): int(ms) for name, ms in fields.items() if name.endswith("_at")}
    return Batch(
        id=fields["id"],
        caller=fields["caller"],
        stage=cast(Stage, fields["stage"]),
        file=fields["file"],
        digest=fields["digest"],
        endpoint=fields["endpoint"],
        created_ms=int(fields["created"]),
        expires_ms=int(fields["expires"]),
        life_s=int(fields["life_s"]),
        metadata=json.loads(fields["metadata"]),
        stages_ms=stages,
        max_queued=integer(fields, "max_queued"),
        retain_s=integer(fields, "retain_s"),
        at=int(fields["at"]),
        row=int(fields["row"]),
        last=integer(fields, "last"),
        total=integer(fields, "total"),
        completed=int(fields["completed"]),
        failed=int(fields["failed"]),
        late=int(fields["late"]),
        wrote_ms=integer(fields, "wrote"),
        tokens=Tokens(*(int(fields[f"{kind}_tokens"]) for kind in ("input", "output", "cached"))),
        errors=tuple(LineProblem(**problem) for problem in json.loads(fields.get("errors", "[]"))),
        output=fields.get("output"),
        error=fields.get("error"),
        gone="gone" in fields,
    )


def _answer(number: str, line: str, answer: str) -> LineAnswer:
    taken, ended = json.loads(line), json.loads(answer)
    result, error = ended.get("result"), ended.get("error")
    return LineAnswer(
        number=int(number),
        custom_id=taken["custom_id"] or None,
        status=ended["status"],
        job=taken.get("job"),
        model=taken.get("model", ""),
        created_ms=int(taken.get("created", 0)),
        ended_ms=int(ended.get("ended", 0)),
        at=int(taken.get("at", 0)),
        behind=int(taken.get("behind", 0)),
        result=Result.model_validate_json(result) if result else None,
        error=job_error(error, ended.get("paths")) if error else None,
    )
