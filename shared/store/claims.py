"""A worker's transitions: claim, renew, append, settle, give back; and rescue, for a worker that vanished.

Every write names the claim's token, and the script compares it before it writes: a worker that was given up
and comes back writes nothing.
"""

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic_core import to_json

from shared.result import JobError, Piece, Result, joined
from shared.settings import Settings
from shared.store.constants import constants
from shared.store.keys import PREFIX
from shared.store.script import ScriptCall, Store, store_errors

RESCUE_LIMIT = 14
"""Runs that one call takes back: some ten milliseconds of the store's thread."""
LONGEST_CAUSE = 200


Again = Literal["again"]
Full = Literal["full"]
Renewal = Literal["ok", "lost"]
Settled = Literal["settled", "lost"]


@dataclass(frozen=True)
class Claim:
    """Work taken under a lease. `id` names a run, a job whose inputs are to be fetched, or a webhook call.

    `published` counts the code points of text that earlier attempts gave to readers, of all answers together;
    `mixed` says that they did so under another fingerprint. Nothing is to be kept of work that is not
    `stored`. `waited_ms` is how long it stood in line this time; `request_id` and `trace` (a carrier of
    shared/telemetry/traces.py) are those of the first call that asked. `rows` is how many its answers take.
    """

    id: str
    token: str
    request: str
    terms: str
    attempt: int
    published: int
    caller: str
    mixed: bool
    stored: bool = True
    model: str = ""
    priority: str = ""
    waited_ms: int = 0
    request_id: str = ""
    trace: str = ""
    rows: int = 1
    lane: str = field(default="", kw_only=True)


class Retry(NamedTuple):
    """When a job whose inputs could not be fetched is tried again: with this request, for the rest of them.

    A `free` try counts as no failure, of which there may be `most`.
    """

    pause_s: float
    request: str
    most: int
    free: bool


ClaimReply: TypeAlias = Claim | Again | Full | None
"""None where nothing waits; the words as in `within`."""


def claim(
    settings: Settings,
    *,
    lane: str,
    worker: str,
    token: str,
    fingerprint: str,
    row: str | None = None,
    aside: Collection[str] = (),
) -> ScriptCall[Claim | None]:
    """Take the best waiting work of a lane; None when there is nothing to take now.

    None may also mean that much of the line had to be ended first: `take` and `within` tell which. `row` is
    the row that the worker's model was added with, where no models file has it. Nothing is taken of callers
    who stand `aside`.
    """
    arguments = {
        "lane": lane,
        "worker": worker,
        "token": token,
        "print": fingerprint,
        "row": row,
        "aside": dict.fromkeys(aside, True) or None,
    }

    def parse(reply: Any) -> Claim | None:
        if not isinstance(reply, list):
            return None
        work, request, terms, number, chars, caller, mixed, unstored, *about = reply
        head = (work, token, request, terms, int(number), int(chars), caller, bool(mixed), not unstored)
        return Claim(*head, *about, lane=lane)

    return ScriptCall("claim", arguments, parse, constants=constants(settings))


def take(run: Callable[[ScriptCall[Any]], Any], claim: ScriptCall[Claim | None]) -> Claim | None:
    """`run` the claim until there is one, or nothing waits. Raises Unavailable `store_unavailable`."""
    either: ScriptCall[Any] = replace(
        claim, parse=lambda reply: reply if reply == "again" else claim.parse(reply)
    )
    taken: Claim | Again | None = "again"
    while taken == "again":
        taken = run(either)
    return taken


def within(slots: int, claim: ScriptCall[Claim | None]) -> ScriptCall[ClaimReply]:
    """The same for a worker whose rows are counted: "full" where work waits but its claims take all `slots`.

    "again" where much of the line was ended (too late, or answered meanwhile): ask at once. The last claim
    may need more rows than are left, so that no request is too wide to get its turn.
    """

    def parse(reply: Any) -> ClaimReply:
        return reply if reply in ("again", "full") else claim.parse(reply)

    arguments = {**claim.arguments, "slots": slots}
    return ScriptCall("claim", arguments, parse, constants=claim.constants)


def renew(settings: Settings, worker: str, leases: Sequence[tuple[str, str]]) -> ScriptCall[list[str]]:
    """Renew the leases of (id, token) pairs; returns the tokens that are no longer good.

    Claims whose reply never reached the worker go back in line.
    """
    arguments = {"worker": worker, "claims": [list(pair) for pair in leases]}
    return ScriptCall("renew", arguments, lambda reply: reply, constants=constants(settings))


def append(claim: Claim, piece: Piece) -> ScriptCall[Renewal]:
    """Publish the next piece of text."""
    arguments = {"id": claim.id, "token": claim.token, **_place(piece)}
    return ScriptCall("append", arguments, lambda reply: reply, _data(piece))


def settle(
    settings: Settings,
    claim: Claim,
    outcome: Result | JobError,
    *,
    fingerprint: str = "",
    rest: Sequence[Piece] = (),
    work_s: float | None = None,
) -> ScriptCall[Settled | Again]:
    """Publish what is left of each text, and end the run with a result or an error.

    A job whose inputs cannot be had is ended with an error likewise.

    "again" where many of its jobs were too late, and were ended first: ask at once.

    `work_s` is how long it took up the engine's rows, summed over them; by default the result's compute time.
    """
    arguments = {
        "id": claim.id,
        "token": claim.token,
        "status": "succeeded" if isinstance(outcome, Result) else "failed",
        "print": _cached_under(outcome, fingerprint),
        "took_ms": (work_s or outcome.compute_s) * 1000 if isinstance(outcome, Result) else None,
        "rest": [_place(piece) | {"data": _data(piece)} for piece in rest] or None,
        "bare": _bare(outcome),
        "origin": _origin(outcome),
    }
    text = outcome.model_dump_json(exclude={"origin"})
    return ScriptCall("settle", arguments, lambda reply: reply, text, constants=constants(settings))


def _cached_under(outcome: Result | JobError, fingerprint: str) -> str | None:
    """None for an answer that ended in a loop: who asks again wants another one."""
    looped = isinstance(outcome, Result) and any(c.finish_reason == "repetition" for c in outcome.choices)
    return None if looped else fingerprint or None


def _origin(outcome: Result | JobError) -> str | None:
    """Kept beside the result: that goes to webhooks and batch lines, and an older API reads it."""
    if isinstance(outcome, JobError) or outcome.origin is None:
        return None
    return outcome.origin.model_dump_json()


def _bare(outcome: Result | JobError) -> str | None:
    """A result without its logprobs, which are many times the text; None where it has none."""
    if isinstance(outcome, JobError) or all(choice.logprobs is None for choice in outcome.choices):
        return None
    return outcome.model_dump_json(exclude={"origin": True, "choices": {"__all__": {"logprobs"}}})


def give_back(
    settings: Settings,
    claim: Claim,
    *,
    reason: str,
    error: JobError | None,
    cause: JobError | None = None,
    missing: Sequence[str] = (),
    died: bool = False,
    again: Retry | None = None,
) -> ScriptCall[str | None]:
    """Put claimed work back in line; an error counts as a failure, which may spend the budget.

    `cause` is this attempt's own error, where `error` is that of all together.
    `again` is for a job whose inputs are awaited. `missing` are digests that the blob store lacks: the next
    caller to name one is asked for its bytes.
    `died` = the worker ends because of this attempt or one beside it: one more death. Returns the lane to
    nudge, or None where the work ended, waits for its next attempt or is no longer ours.
    """
    arguments = {
        "id": claim.id,
        "token": claim.token,
        "reason": reason,
        "spend": (error is not None and not (again and again.free)) or None,
        "failure": error.model_dump_json() if error else None,
        "cause": _brief(cause or error),
        "missing": list(missing) or None,
        "died": died or None,
        "pause": math.ceil(again.pause_s * 1000) if again else None,
        "request": again.request if again else None,
        "most": again.most if again else None,
    }

    def parse(reply: list[str]) -> str | None:
        return reply[1] if reply[0] == "queued" else None

    return ScriptCall("give_back", arguments, parse, constants=constants(settings))


def _brief(error: JobError | None) -> dict[str, str] | None:
    return {"code": error.code, "message": error.message[:LONGEST_CAUSE]} if error else None


def rescue(settings: Settings) -> ScriptCall[list[tuple[str, str]]]:
    """Put lost workers' work back in line; returns (id, lane) pairs, lane empty where the work was ended."""

    def parse(reply: list[Any]) -> list[tuple[str, str]]:
        return [(work, lane) for work, lane in reply]

    return ScriptCall("rescue", {"limit": RESCUE_LIMIT}, parse, constants=constants(settings))


def published(store: Store, run: str) -> dict[int, Piece]:
    """The text that a run has published, by choice. Raises Unavailable `store_unavailable`."""
    pieces: dict[int, list[Piece]] = {}
    with store_errors():
        entries = store.client.xrange(f"{PREFIX}{run}:events")
        rest = store.client.hget(f"{PREFIX}{run}", "rest")
    texts = [json.loads(fields["text"]) for _, fields in entries if "text" in fields]
    for data in [*texts, *json.loads(rest or "[]")]:
        piece = Piece(data["start"], data["text"], tuple(data["ids"]))
        pieces.setdefault(data.get("choice", 0), []).append(piece)
    return {choice: whole for choice, parts in pieces.items() if (whole := joined(parts))}


def _place(piece: Piece) -> dict[str, int]:
    choice = {} if piece.choice is None else {"choice": piece.choice}
    return choice | {"start": piece.start, "size": len(piece.text)}


def _data(piece: Piece) -> str:
    """`logprobs` come last: `claim` looks for them there. The first piece tells the prompt's length.

    An older API reads in `syntax` nothing but a form of calls.
    """
    choice: dict[str, Any] = {} if piece.choice is None else {"choice": piece.choice}
    name = "written" if " " in (piece.syntax or "") else "syntax"
    syntax = {} if piece.syntax is None else {name: piece.syntax}
    logprobs = {} if piece.logprobs is None else {"logprobs": piece.logprobs}
    prompt = {} if piece.start or piece.prompt_tokens is None else {"prompt_tokens": piece.prompt_tokens}
    data = choice | syntax | prompt | {"start": piece.start, "text": piece.text, "ids": piece.ids} | logprobs
    return to_json(data).decode()
