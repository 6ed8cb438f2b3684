"""The transitions of batches: what callers ask for, and what a process that works on a batch does."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import TypeAdapter

from shared.batch import WINDOW_S, Batch, BatchLease, LineFailures, LineProblem, WrittenRows
from shared.file import Written
from shared.job import Hook
from shared.result import JobError
from shared.settings import Settings
from shared.store.admission import hook_fields
from shared.store.constants import constants
from shared.store.records import NOW, Command, RecordKind, flat
from shared.store.script import ScriptCall, T
from shared.store.views import webhook
from shared.webhooks import Webhook

MOST = 100
"""Batches that one caller may have under way at once: they take turns, and each turn may be long."""
FAILURES, MESSAGE = "_failures", "_message"
"""Fields of a batch, behind the code of an error: how many lines it had, and the first one's message."""
LONGEST_MESSAGE = 500
Outcome = Literal["written", "lost"]
_BATCH = TypeAdapter(Batch)


def _batch(fields: dict[str, Any]) -> Batch:
    ends = {
        end: {name.removesuffix(end): fields[name] for name in fields if name.endswith(end)}
        for end in ("_at", "_tokens", FAILURES)
    }
    problems = json.loads(fields.get("errors", "[]"))
    failures = [
        LineFailures(code, int(count), fields.get(code + MESSAGE, ""))
        for code, count in ends[FAILURES].items()
    ]
    parts = {"metadata": json.loads(fields["metadata"]), "errors": problems}
    parts["failures"] = sorted(failures, key=lambda failure: -failure.count)
    return _BATCH.validate_python(fields | parts | {"stages_ms": ends["_at"], "tokens": ends["_tokens"]})


BATCHES = RecordKind("batches", _batch)
batch = BATCHES.record
batches = BATCHES.page


def create(
    settings: Settings, batch: Batch, body: str | None = None, hook: Webhook | str | None = None
) -> ScriptCall[tuple[Literal["missing", "purpose", "many", "mismatch", "created"], Batch | None]]:
    """Begin a batch; its times are the store's clock.

    `body` is the digest of the request's body where the id stands for an idempotency key, `hook` the
    webhook, or the API key whose default webhook it is.
    """
    kept_s = batch.retain_s or max(batch.life_s, settings.retention.job_s)
    metadata = json.dumps(batch.metadata, ensure_ascii=False, separators=(",", ":"))
    names = ["caller", "stage", "file", "endpoint", "max_queued", "retain_s", "life_s"]
    names += ["at", "row", "written", "written_at", "question", "pages"]
    fields = {name: getattr(batch, name) for name in names}
    which = {"id": batch.id, "caller": batch.caller, "file": batch.file, "body": body}
    terms: dict[str, Any] = {"window_s": WINDOW_S, "kept_s": kept_s, "most": MOST}
    terms["purpose"] = "batch" if batch.question is None else None
    terms["fields"] = flat(**fields, metadata=metadata, kept_s=kept_s, body=body, hook=hook and 1)
    terms["hook"] = hook_fields(hook) if hook else None
    return ScriptCall(
        "batch_create", which | terms, lambda reply: (reply[0], BATCHES.known(reply[1:] and reply[1]))
    )


def cancel(caller: str, id: str) -> ScriptCall[Batch | None]:
    """Take no more lines; what was done is kept. None where the caller has no such batch."""
    return ScriptCall("batch_cancel", {"id": id, "caller": caller}, BATCHES.known)


def leased(lease: BatchLease) -> ScriptCall[Batch | None]:
    """A batch that this process has claimed; None where it is another process's by now, or has ended."""
    return _leased(
        "record_read", lease, lambda replies: BATCHES.known(replies and replies[0]), kind=BATCHES.name
    )


def give_back(
    settings: Settings, lease: BatchLease, seconds: float, *, found: bool = True
) -> ScriptCall[Outcome]:
    """End this turn; the next one is due after `seconds`. `found`: bytes that were missing were there."""
    commands: list[Command] = [("HDEL", "", "missing_ms")] if found else []
    return _step(lease, commands, constants=constants(settings), pause=round(seconds * 1000))


def miss(lease: BatchLease, *, gone: bool) -> ScriptCall[Outcome]:
    """Record that bytes of the batch are missing, and that they are given up where they are `gone`."""
    return _step(lease, [("HSET", "", "gone", 1) if gone else ("HSETNX", "", "missing_ms", NOW)])


def begin(
    lease: BatchLease,
    *,
    total: int | None = None,
    last: int = 0,
    doubles: Sequence[int] = (),
    errors: Sequence[LineProblem] = (),
) -> ScriptCall[Outcome]:
    """Record what a look through the batch's file found; with `total` its lines may be taken.

    Of many doubles some thousand are given at a time, before that.
    """
    commands: list[Command] = [("ZADD", ":doubles", number, number) for number in doubles]
    if total is not None:
        commands.append(("HSET", "", *flat(total=total, last=last, errors=_errors(errors))))
    return _step(lease, commands, guard=("HEXISTS", "", "total"), expected=0)


def take(
    lease: BatchLease, before: Batch, after: Batch, refused: Mapping[int, JobError]
) -> ScriptCall[Outcome]:
    """Move on to the last line of those that were taken, which are jobs, or `refused`."""
    commands: list[Command] = [("HSET", "", *flat(row=after.row, at=after.at, model=after.model))]
    if refused:
        errors = [part for number, error in refused.items() for part in (number, error.model_dump_json())]
        commands.append(("HSET", ":known", *errors))
    return _step(lease, commands, guard=("HGET", "", "row"), expected=str(before.row))


def write(lease: BatchLease, batch: Batch, wrote: WrittenRows) -> ScriptCall[Outcome]:
    """Count lines whose rows are written, and move on behind them."""
    counts = {name: getattr(wrote, name) for name in ("completed", "failed", "late")}
    counts |= {f"{kind}_tokens": count for kind, count in vars(wrote.tokens).items()}
    commands: list[Command] = [("HINCRBY", "", name, count) for name, count in counts.items()]
    for failure in wrote.failures:
        commands.append(("HINCRBY", "", failure.code + FAILURES, failure.count))
        commands.append(("HSETNX", "", failure.code + MESSAGE, failure.message[:LONGEST_MESSAGE]))
    pieces = {":good": wrote.good, ":bad": wrote.bad}
    commands += [("RPUSH", list, piece) for list, piece in pieces.items() if piece]
    commands.append(("HDEL", ":known", *wrote.numbers))
    commands.append(("HSET", "", "written", wrote.numbers[-1], "written_at", wrote.behind, "wrote_ms", NOW))
    held = [piece for piece in pieces.values() if piece]
    guard = ("HGET", "", "written")
    return _step(lease, commands, pieces=held, guard=guard, expected=str(batch.written), jobs=wrote.jobs)


def doubles(lease: BatchLease, batch: Batch, limit: int) -> ScriptCall[frozenset[int] | None]:
    """The next numbers of lines to come whose custom_id an earlier line has."""
    command = ("ZRANGEBYSCORE", ":doubles", f"({batch.row}", "+inf", "LIMIT", 0, limit)
    return _read(lease, [command], lambda numbers: frozenset(map(int, numbers)))


def known(lease: BatchLease, numbers: Iterable[int]) -> ScriptCall[dict[int, JobError] | None]:
    """Why lines became no job."""
    numbers = tuple(numbers)

    def parse(values: list[str | None]) -> dict[int, JobError]:
        errors = zip(numbers, values, strict=True)
        return {number: JobError.model_validate_json(error) for number, error in errors if error is not None}

    return _read(lease, [("HMGET", ":known", *numbers)], parse)


def pieces(lease: BatchLease) -> ScriptCall[tuple[list[str], list[str]] | None]:
    """The digests of both files' pieces, output before errors; None where the batch is another process's."""
    return _read(lease, _PIECES, lambda *lists: lists)


_PIECES: list[Command] = [("LRANGE", list, 0, -1) for list in (":good", ":bad")]


def rows_so_far(caller: str, id: str) -> ScriptCall[tuple[list[str], list[str]]]:
    """As `pieces`, for the batch's caller; empty once it has ended, or where the caller has none."""
    return BATCHES.read_all(caller, id, _PIECES, lambda replies: replies or ([], []))


def hook(caller: str, id: str) -> ScriptCall[Hook | None]:
    """The webhook of a job of pages, and what became of its calls."""
    arguments = {"caller": caller, "id": id}
    return ScriptCall("batch_hook", arguments, lambda reply: webhook(*reply) if reply else None)


def fail(settings: Settings, lease: BatchLease, errors: Sequence[LineProblem]) -> ScriptCall[Outcome]:
    """End a batch of which no line can be taken."""
    fields = flat(errors=_errors(errors))
    return _leased("batch_end", lease, constants=constants(settings), stage="failed", files=[], fields=fields)


def end(
    settings: Settings, lease: BatchLease, batch: Batch, *, output: Written | None, error: Written | None
) -> ScriptCall[Outcome]:
    """End a batch whose rows are all written, with the records of its files."""
    stage = "cancelled" if batch.stage == "cancelling" else "expired" if batch.late else "completed"
    files = [{**vars(file), "caller": batch.caller} for file in (output, error) if file]
    fields = flat(output=output and output.id, error=error and error.id)
    return _leased("batch_end", lease, constants=constants(settings), stage=stage, files=files, fields=fields)


def _step(
    lease: BatchLease,
    commands: Sequence[Command],
    *,
    pieces: Sequence[str] = (),
    constants: str = "",
    **first: Any,
) -> ScriptCall[Outcome]:
    """Commands that are done together, unless the reply to a `guard` says that they were done before.

    The batch takes over the hold of `pieces`.
    """
    arguments = {"commands": commands, "pieces": pieces, "upload": lease.token, **first}
    return _leased("batch_step", lease, constants=constants, **arguments)


def _read(lease: BatchLease, commands: Sequence[Command], parse: Callable[..., T]) -> ScriptCall[T | None]:
    """The replies to commands; None where the batch is another process's."""
    arguments: dict[str, Any] = {"kind": BATCHES.name, "commands": commands}
    return _leased(
        "record_read", lease, lambda replies: None if replies is None else parse(*replies), **arguments
    )


def _leased(
    function: str,
    lease: BatchLease,
    parse: Callable[[Any], Any] = lambda reply: reply,
    constants: str = "",
    **arguments: Any,
) -> ScriptCall[Any]:
    """What the process does that holds the lease."""
    return ScriptCall(function, {**vars(lease), **arguments}, parse, constants=constants)


def _errors(errors: Sequence[LineProblem]) -> str:
    return json.dumps([asdict(error) for error in errors])
