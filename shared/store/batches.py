"""The transitions of batches: what callers ask for, and what a process that works on a batch does."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import TypeAdapter

from shared.batch import (
    WINDOW_S,
    Batch,
    BatchLease,
    LineAnswer,
    LineFailures,
    LinePosition,
    LineProblem,
    WrittenRows,
)
from shared.file import Written
from shared.job import Hook
from shared.result import JobError
from shared.settings import Settings
from shared.store.admission import hook_fields
from shared.store.constants import constants
from shared.store.records import NOW, READ, Command, RecordKind, flat
from shared.store.script import Script, ScriptCall, T
from shared.store.views import job_error, pairs, read_result, webhook
from shared.webhooks import Webhook

CREATE, CANCEL, TAKE = (Script(f"batch_{verb}") for verb in ("create", "cancel", "take"))
ADD, STEP, LOSE, END = (Script(f"batch_{verb}") for verb in ("add", "step", "lose", "end"))

WINDOW = 256
"""Lines of one batch on their way at once."""
MOST = 100
"""Batches that one caller may have under way at once: they take turns, and each turn may be long."""
LEASE_S = 10.0
"""A batch whose process is silent for this long goes to another process."""
MOST_BYTES = 2 * 2**20
"""Of answers that are read at once, but for the last one."""
FAILURES, MESSAGE = "_failures", "_message"
"""Fields of a batch, behind the code of an error: how many lines it had, and the first one's message."""
LONGEST_MESSAGE = 500
Outcome = Literal["written", "lost"]
_BATCH, _ANSWER = TypeAdapter(Batch), TypeAdapter(LineAnswer)


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
    settings: Settings, batch: Batch, body: str | None = None, hook: Webhook | None = None
) -> ScriptCall[tuple[Literal["missing", "purpose", "many", "mismatch", "created"], Batch | None]]:
    """Begin a batch; its times are the store's clock.

    `body` is the digest of the request's body where the id stands for an idempotency key, `hook` the
    webhook of a job of pages.
    """
    kept_s = batch.retain_s or max(batch.life_s, settings.retention.job_s)
    metadata = json.dumps(batch.metadata, ensure_ascii=False, separators=(",", ":"))
    names = ["caller", "stage", "file", "endpoint", "max_queued", "retain_s", "life_s", "at", "row"]
    names += ["question", "pages"]
    fields = {name: getattr(batch, name) for name in names}
    which = {"id": batch.id, "caller": batch.caller, "file": batch.file, "body": body}
    terms: dict[str, Any] = {"window_s": WINDOW_S, "kept_s": kept_s, "most": MOST}
    terms["purpose"] = "batch" if batch.question is None else None
    terms["fields"] = flat(**fields, metadata=metadata, kept_s=kept_s, body=body, hook=hook and 1)
    terms["hook"] = hook and flat(**hook_fields(hook))
    return ScriptCall(CREATE, which | terms, lambda reply: (reply[0], BATCHES.known(reply[1:] and reply[1])))


def cancel(caller: str, id: str) -> ScriptCall[Batch | None]:
    """Take no more lines; what was done is kept. None where the caller has no such batch."""
    return ScriptCall(CANCEL, {"id": id, "caller": caller}, BATCHES.known)


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
        return BatchLease(BATCHES.parse(fields), token, frozenset(map(int, doubles)), *map(int, counts))

    return ScriptCall(TAKE, arguments, parse)


def renew(turn: BatchLease, seconds: float, *, leave: bool = False) -> ScriptCall[Outcome]:
    """Hold a batch for `seconds`; with `leave` give it up, and let it be taken again after `seconds`."""
    # A turn that came to its end found all bytes that it needed.
    commands: list[Command] = [("HDEL", "", "token", "missing_ms")] if leave else []
    return _step(STEP, turn, commands, seconds=seconds)


def miss(turn: BatchLease, patience_s: float) -> ScriptCall[Outcome]:
    """Record that bytes of the batch are missing; after `patience_s` they are given up."""
    gone = turn.now_ms - (turn.batch.missing_ms or turn.now_ms) >= patience_s * 1000
    return _step(STEP, turn, [("HSET", "", "gone", 1) if gone else ("HSETNX", "", "missing_ms", NOW)])


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
    commands: list[Command] = [("ZADD", ":doubles", number, number) for number in doubles]
    if total is not None:
        commands.append(("HSET", "", *flat(total=total, last=last, errors=_errors(errors))))
    return _step(ADD, turn, commands, guard=("HEXISTS", "", "total"), expected=0)


def refuse(turn: BatchLease, place: LinePosition, error: JobError) -> ScriptCall[Outcome]:
    """Answer the next line with an error: it becomes no job."""
    line = json.dumps({"custom_id": place.custom_id})
    answer = json.dumps({"line": line, "status": "refused", "error": error.model_dump_json()})
    commands = [("HSET", ":lines", place.number, line), ("HSET", ":answers", place.number, answer)]
    return _step(ADD, turn, [*commands, _move(place.behind, place.number)], **_stands(place.at))


def wrote(turn: BatchLease, wrote: WrittenRows) -> ScriptCall[Outcome]:
    """Count lines whose answers are written down; they are no longer under way."""
    counts = {name: getattr(wrote, name) for name in ("completed", "failed", "late")}
    counts |= {f"{kind}_tokens": count for kind, count in vars(wrote.tokens).items()}
    commands: list[Command] = [("HINCRBY", "", name, count) for name, count in counts.items()]
    for failure in wrote.failures:
        commands.append(("HINCRBY", "", failure.code + FAILURES, failure.count))
        commands.append(("HSETNX", "", failure.code + MESSAGE, failure.message[:LONGEST_MESSAGE]))
    commands.append(("HSET", "", "wrote_ms", NOW))
    pieces = {":good": wrote.good, ":bad": wrote.bad}
    commands += [("RPUSH", list, piece) for list, piece in pieces.items() if piece]
    if undone := wrote.undone:
        first = _stands(undone.at)
        commands.append(_move(undone.behind, undone.row))
    else:
        first = {"guard": ("HEXISTS", ":lines", wrote.numbers[0]), "expected": 1}
        commands += [("HDEL", part, *wrote.numbers) for part in (":lines", ":answers")]
    return _step(STEP, turn, commands, pieces=[piece for piece in pieces.values() if piece], **first)


def ended(turn: BatchLease, limit: int) -> ScriptCall[list[str] | None]:
    """The numbers of some lines that have ended and are not written down yet.

    None where the batch is another process's.
    """
    return _read(turn, [("HRANDFIELD", ":answers", limit)], lambda numbers: numbers or [])


def answers(turn: BatchLease, numbers: Sequence[str]) -> ScriptCall[list[LineAnswer] | None]:
    """How these lines have ended, the first at least; None where the batch is another process's."""

    def parse(*found: str) -> list[LineAnswer]:
        return [_answer(*row) for row in zip(numbers, found, strict=False)]

    return _read(turn, [("HGET", ":answers", number) for number in numbers], parse, bytes=MOST_BYTES)


def under_way(turn: BatchLease) -> ScriptCall[dict[str, str] | None]:
    """The numbers of lines that have not ended, by their jobs; None where the batch is another process's."""

    def parse(lines: list[str], ended: list[str]) -> dict[str, str]:
        return {
            json.loads(line)["job"]: number for number, line in pairs(lines).items() if number not in ended
        }

    return _read(turn, [("HGETALL", ":lines"), ("HKEYS", ":answers")], parse)


def lose(settings: Settings, turn: BatchLease, numbers: Sequence[str]) -> ScriptCall[Outcome]:
    """End lines whose jobs' records are gone."""
    return _leased(LOSE, turn, constants=constants(settings), numbers=numbers)


def pieces(turn: BatchLease) -> ScriptCall[tuple[list[str], list[str]] | None]:
    """The digests of both files' pieces, output before errors; None where the batch is another process's."""
    return _read(turn, [("LRANGE", list, 0, -1) for list in (":good", ":bad")], lambda *lists: lists)


def rows_so_far(caller: str, id: str) -> ScriptCall[tuple[list[str], list[str]]]:
    """As `pieces`, for the batch's caller; empty once it has ended, or where the caller has none."""
    commands = [("LRANGE", list, 0, -1) for list in (":good", ":bad")]
    return BATCHES.read_all(caller, id, commands, lambda replies: replies or ([], []))


def hook(caller: str, id: str) -> ScriptCall[Hook | None]:
    """A job of pages' own webhook, and what became of its calls."""
    commands = [("HMGET", ":hook", "url", "events", "delivered"), ("LRANGE", ":deliveries", 0, -1)]

    def parse(replies: list[Any] | None) -> Hook | None:
        return webhook(*replies) if replies and replies[0][0] else None

    return BATCHES.read_all(caller, id, commands, parse)


def fail(settings: Settings, turn: BatchLease, errors: Sequence[LineProblem]) -> ScriptCall[Outcome]:
    """End a batch of which no line, or no further line, can be taken."""
    fields = flat(errors=_errors(errors))
    return _leased(END, turn, constants=constants(settings), stage="failed", files=[], fields=fields)


def end(
    settings: Settings, turn: BatchLease, *, output: Written | None, error: Written | None
) -> ScriptCall[Outcome]:
    """End a batch whose lines are all written down, with the records of its files."""
    batch = turn.batch
    stage = "cancelled" if batch.stage == "cancelling" else "expired" if batch.late else "completed"
    files = [{**vars(file), "caller": batch.caller} for file in (output, error) if file]
    fields = flat(output=output and output.id, error=error and error.id)
    return _leased(END, turn, constants=constants(settings), stage=stage, files=files, fields=fields)


def _step(
    script: Script,
    turn: BatchLease,
    commands: Sequence[Command],
    *,
    guard: Command = ("HEXISTS", "", "caller"),
    expected: int | str = 1,
    pieces: Sequence[str] = (),
    seconds: float = LEASE_S,
) -> ScriptCall[Outcome]:
    """Commands that are done together, unless the reply to the guard says that they were done before.

    The batch takes over the hold of `pieces`, and is the process's for `seconds` more.
    """
    first: dict[str, Any] = {"guard": guard, "expected": expected, "ms": round(seconds * 1000)}
    return _leased(script, turn, commands=commands, pieces=pieces, upload=turn.token, **first)


def _read(
    turn: BatchLease, commands: Sequence[Command], parse: Callable[..., T], **limits: int
) -> ScriptCall[T | None]:
    """The replies to commands; None where the batch is another process's."""
    arguments: dict[str, Any] = {"kind": BATCHES.name, "commands": commands, **limits}
    return _leased(READ, turn, lambda replies: None if replies is None else parse(*replies), **arguments)


def _leased(
    script: Script,
    turn: BatchLease,
    parse: Callable[[Any], Any] = lambda reply: reply,
    constants: str = "",
    **arguments: Any,
) -> ScriptCall[Any]:
    """What the process does that holds the lease."""
    arguments |= {"id": turn.batch.id, "token": turn.token}
    return ScriptCall(script, arguments, parse, constants=constants)


def _stands(at: int) -> dict[str, Any]:
    """The guard of a step that moves the batch on from there."""
    return {"guard": ("HGET", "", "at"), "expected": str(at)}


def _move(behind: int, row: int) -> Command:
    return "HSET", "", "at", behind, "row", row, "waits_for", ""


def _errors(errors: Sequence[LineProblem]) -> str:
    return json.dumps([asdict(error) for error in errors])


def _answer(number: str, answer: str) -> LineAnswer:
    ended = json.loads(answer)
    line = json.loads(ended.pop("line"))
    result, error = ended.pop("result", None), ended.pop("error", None)
    parts = {
        "number": number,
        "custom_id": line.pop("custom_id") or None,
        "result": read_result(result) if result else None,
        "error": job_error(error, ended.get("paths")) if error else None,
    }
    return _ANSWER.validate_python({**line, **ended, **parts})
