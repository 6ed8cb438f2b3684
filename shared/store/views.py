"""Reading the scripts' replies: flat lists of names and values become typed views."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from pydantic_core import from_json

from shared.estimate import Calibration, Lane, LastWorker, estimate, waiting_reason
from shared.job import Attempt, AttemptError, Computed, Delivery, Event, Hook, JobView, Question, Status
from shared.result import JobError, Origin, Result
from shared.store.constants import LOST
from shared.store.keys import INTAKE
from shared.tool_calls.syntax import read_syntax
from shared.tool_calls.thoughts import split_thoughts, syntax_in

Record = dict[str, Any]
"""A job's fields."""
BEGINNING = 200
"""Characters of an answer that a list without results shows."""
UNFORESEEN = ("paused", "retrying")
"""Reasons without an estimate: the job waits in no line, and such waits are not measured."""


def pairs(flat: list[Any]) -> dict[str, str]:
    """[name, value, name, value, …] as a mapping."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


WAITING = ("n1", "n2", "n3", "x1", "x2", "x3")
"""How much waits in a lane, by class: in its line, and suspects (`functions/fair_queue.lua`)."""


LANE_FACTS = ("rows", "slots", "service_ms")
"""FACTS of `functions/lanes.lua`."""


def _last_worker(report: str) -> LastWorker:
    worker = json.loads(report)
    return LastWorker(worker["id"], worker.get("host", ""), worker["seen_ms"])


def _flag(value: str) -> bool:
    return value == "1"


READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("sampling_rate", "context_length", "cold"), int),
    **dict.fromkeys(("load_basis", "failed", "unloaded", "engine", "engine_reason", "token_rule"), str),
    **dict.fromkeys(("rows", "slots", "service_ms", "first_queued_ms"), float),
    **dict.fromkeys(("load_started_ms", "load_ms", "load_guess_ms", "load_in_ms"), float),
    **dict.fromkeys(("resident_ms", "unloaded_ms"), float),
    "samples": _flag,
    "videos": _flag,
    "tools": read_syntax,
    "max_side": lambda side: int(side) if side else None,
    "last_worker": _last_worker,
}
"""How those facts are read that are fields of `Lane`."""


def lane(reply: list[Any]) -> Lane:
    """What `Lanes.view` gives: last other facts, where no worker is ready; the page of a model has all."""
    ready, loading, running, now_ms, ahead, (state, *values), *more = reply
    counts: dict[str, Any] = from_json(state or "{}")
    facts = {name: value for name, value in zip(LANE_FACTS, values, strict=True) if value is not None}
    facts |= pairs(more[0]) if more else {}
    factors = {name: _parts(text) for name, text in counts.get("factors", {}).items()}
    kept = factors.pop("kept", [])
    return Lane(
        ready=ready,
        loading=loading,
        queued=sum(counts.get(count, 0) for count in WAITING),
        running=running,
        extra_queued=counts.get("wide_queued", 0),
        extra_running=counts.get("wide_running", 0),
        arrivals=counts.get("arrivals", 0),
        now_ms=now_ms,
        paused="paused" in counts,
        paused_at_ms=counts.get("paused_at"),
        paused_by=counts.get("paused_by"),
        draining="draining" in counts,
        draining_at_ms=counts.get("draining_at"),
        draining_by=counts.get("draining_by"),
        unload_ms=counts.get("unload_at"),
        unload_by=counts.get("unload_by"),
        factors=factors,
        calibration=_calibration(*kept) if more and any(kept) else None,
        ahead=ahead,
        **{name: READERS[name](value) for name, value in facts.items() if name in READERS},
    )


def _parts(millionths: str) -> list[float]:
    return [int(number) / 1e6 for number in millionths.split()]


def _calibration(scored: float, within_p50: float, within_p90: float) -> Calibration:
    return Calibration(round(scored), within_p50 / scored, within_p90 / scored)


def job(
    reply: list[Any] | None, lanes: dict[str, Lane] | None = None, *, bare: bool = False
) -> JobView | None:
    """The reply of `view`; on a page `lanes` has what is known of each.

    `bare`: of its result only the beginning was read.
    """
    if not reply:
        return None
    try:
        return _job(reply, lanes, bare=bare)
    except (ValueError, LookupError, TypeError):
        # The function that meets it next writes this.
        return JobView(reply[0], caller="", model="", status="failed", created_ms=0, ended_ms=0, error=LOST)


def _job(reply: list[Any], lanes: dict[str, Lane] | None, *, bare: bool) -> JobView:
    job_id, asked, result, origin, place, *hook = reply[0], *reply[8:]
    fields, work = _with_work(job_id, reply[1:8])
    # What an answer was made of is told for as long as the answer is.
    work = work if asked else {}
    facts = lane(place) if isinstance(place, list) else None
    if isinstance(place, int):
        facts = replace((lanes or {})[fields["model_lane"]], ahead=place)
    answer = read_result(result, origin) if result and not bare else None
    job = _view(job_id, ended_with(fields, work), work, facts, answer, len(result))
    job = replace(job, question=_question((work or fields) | from_json(asked)) if asked else None)
    if bare and result:
        answered = job.status == "succeeded"
        job = replace(job, answer=_beginning(result) if answered else _published(result) or None)
    return replace(job, hook=webhook(*hook)) if hook else job


def _beginning(result: str) -> str:
    try:
        answer = from_json(result, allow_partial="trailing-strings")
        return _told(answer["choices"][0]["text"], answer.get("syntax"))
    except (ValueError, LookupError, TypeError):
        return ""


def _published(texts: str) -> str:
    """Of a job that was stopped or failed: how its first answer began."""
    whole, syntax = "", None
    for piece in from_json(texts):
        if not piece.get("choice"):
            whole, syntax = whole[: piece["start"]] + piece["text"], syntax_in(piece)
    return _told(whole, syntax)


def _told(beginning: str, syntax: str | None) -> str:
    """Of words and thoughts what a list shows."""
    thoughts, text = split_thoughts(beginning, syntax)
    return (text or thoughts)[:BEGINNING]


def record(texts: Iterable[str]) -> Record:
    """The fields of a job: JSON objects, of which later ones change what earlier ones say."""
    fields: Record = {}
    for text in filter(None, texts):
        fields |= from_json(text)
    return fields


END = ("status", "ended", "last", "error")
"""How a job ended."""


def _with_work(id: str, texts: Sequence[str]) -> tuple[Record, Record]:
    """A job's fields and those of its work, which are its leader's where it follows another job.

    `texts`: r, s and t of the job, its leader's id, r, s and t of that. The work's end is its own: a job may
    have left before. The work has its `id`; it is empty while inputs are fetched, or where it cannot be read.
    """
    created, changed, progress, leader, *others = texts
    fields = record((created, changed))
    if not leader and fields.get("lane") == INTAKE:
        return fields, {}
    try:
        work = record(others) if leader else record((created, changed, progress))
    except (ValueError, TypeError):
        if not leader:
            raise
        work = {}
    return fields, _work(work) | {"id": leader or id} if work else {}


def _work(fields: Record) -> Record:
    end = fields.get("over", fields) if fields.get("state") == "over" else {}
    rest = {name: value for name, value in fields.items() if name not in END}
    return rest | {name: end[name] for name in END if name in end}


def ended_with(job: Record, work: Record) -> Record:
    """A job's record with the end of its work, where its own is still to be written."""
    if "status" in job or "status" not in work:
        return job
    return job | {name: work[name] for name in END if name in work}


def answer_bytes(reply: list[Any] | None) -> int:
    """The size of the answer in a reply of `view`."""
    return len(reply[9]) if reply else 0


def _view(
    job_id: str, job: Record, work: Record, facts: Lane | None, answer: Result | None, size: int
) -> JobView:
    status, placed = _status(job, work), job.get("lane") != INTAKE
    tries = _tries(job, [_attempt(row) for row in _attempts(job, work)])
    state = work.get("state") if placed else job.get("state")
    waits = status == "queued" or state in ("queued", "retrying")
    wait = waiting(facts, placed=placed, state=state) if facts and waits else {}
    result = answer if status == "succeeded" else None
    return JobView(
        id=job_id,
        caller=job["caller"],
        model=job["model"],
        status=status,
        created_ms=int(job["created"]),
        run_id=job.get("leader", job_id) if placed else None,
        started_ms=_started(job, tries),
        ended_ms=integer(job, "ended"),
        attempts=tries,
        cache=job.get("cache"),
        request_hash=work.get("hash") or work.get("key", "").rpartition(":")[2] or None,
        result=result,
        computed=_computed(job, work) if result else None,
        error=job_error(job["error"], job.get("paths")) if "error" in job else None,
        metadata=json.loads(job["metadata"]),
        priority=job["priority"],
        finish_by_ms=integer(job, "finish_by"),
        retry_of=job.get("retry_of"),
        batch=job.get("batch"),
        response=job.get("response"),
        stored="unstored" not in job,
        last_event=int(job.get("last") or work.get("seq") or 0) + int(job.get("own", 0)),
        bytes=size,
        **wait,
    )


def waiting(lane: Lane, *, placed: bool, state: str | None) -> dict[str, Any]:
    """What a view tells of a job while it waits."""
    reason = waiting_reason(lane, placed=placed, state=state)
    return {
        "waiting_reason": reason,
        "model_failed": lane.failed if lane.state == "failed" else None,
        "ahead": lane.served_first,
        "estimate": None if reason in UNFORESEEN else estimate(lane),
    }


def _question(asked: Record) -> Question | None:
    return Question(asked["question"], asked.get("pictures", 0)) if "question" in asked else None


def _attempts(job: Record, work: Record) -> list[Record]:
    """Those at a job's inputs are shown once it has ended by them."""
    fetched = job.get("lane") == INTAKE and "status" in job
    rows: list[Record] = (job if fetched else work).get("attempts", [])
    return rows


def _started(job: Record, tries: tuple[Attempt, ...]) -> int | None:
    """When the job started, no earlier than it was submitted: its work may have begun for other jobs."""
    if not tries or job.get("lane") == INTAKE:
        return None
    return max(tries[0].started_ms, int(job["created"]))


def read_result(result: str, origin: str = "") -> Result | None:
    """An answer and what made it, as JSON. None where it cannot be read: then it is no longer kept."""
    try:
        answer = Result.model_validate_json(result)
        return answer.model_copy(update={"origin": Origin.model_validate_json(origin)}) if origin else answer
    except ValueError:
        return None


def _computed(job: Record, work: Record) -> Computed:
    return Computed(
        work["id"],
        job=work["id"] if work["caller"] == job["caller"] else None,
        queued_ms=integer(work, "placed" if "placed" in work else "created"),
        started_ms=integer(work, "started"),
        first_text_ms=integer(work, "first"),
        ended_ms=integer(work, "ended"),
        attempts=integer(work, "attempt"),
    )


def integer(fields: Mapping[str, Any], name: str) -> int | None:
    """A number in a record; None where the record has no such field."""
    return int(fields[name]) if name in fields else None


def _status(job: Record, work: Record) -> Status:
    if "status" in job:
        return cast(Status, job["status"])
    return "running" if "started" in work else "queued"


def job_error(error: str, paths: str | None) -> JobError:
    """The error with the caller's own name for its `param`: the run that raised it may be shared.

    Both are JSON; `paths` as in `JobTerms`.
    """
    failure = JobError.model_validate_json(error)
    named: dict[str, str] = json.loads(paths or "{}")
    return failure.model_copy(update={"param": named.get(failure.param or "", failure.param) or None})


def _attempt(raw: Record) -> Attempt:
    return Attempt(
        int(raw["number"]),
        raw["worker"],
        int(raw["started"]),
        raw.get("ended"),
        raw.get("outcome"),
        AttemptError(**raw["error"]) if "error" in raw else None,
    )


def webhook(fields: list[str | None], deliveries: Iterable[str] = (), next_try: str | None = None) -> Hook:
    url, events, delivered = fields
    tries = tuple(map(delivery, deliveries))
    delivered_ms, next_ms = (int(at) if at else None for at in (delivered, next_try))
    return Hook(str(url), tuple(str(events).split()), tries, delivered_ms, next_ms)


def delivery(row: str) -> Delivery:
    return Delivery(**json.loads(row))


def _tries(job: Record, attempts: list[Attempt]) -> tuple[Attempt, ...]:
    """The attempts as they stood when the job left its run, which may have gone on for others.

    A job that ended with its run ended after all attempts, even if the clock was set back in between.
    """
    own_end_ms = integer(job, "ended") if job.get("own") else None
    if own_end_ms is None:
        return tuple(attempts)
    return tuple(
        a
        if a.ended_ms is not None and a.ended_ms <= own_end_ms
        else replace(a, ended_ms=None, outcome=None, error=None)
        for a in attempts
        if a.started_ms <= own_end_ms
    )


@dataclass(frozen=True)
class EventPage:
    """A stretch of a job's event stream; `run_id` is None while its inputs are fetched.

    `newest` is the last id the stream holds now. `seen` is the event that the reader named as its last, None
    where the stream does not hold it; `forgot` says that the store lost that one. `run_lost` says that the
    run's record is gone, which ends its jobs. `unread` says that there is text of which the run does not know
    that it is read.
    """

    events: tuple[Event, ...] = field(default=())
    run_id: str | None = None
    ended: bool = False
    newest: int = 0
    seen: Event | None = None
    forgot: bool = False
    run_lost: bool = False
    unread: bool = False


def event_page(reply: list[Any] | None, id: str, after: int) -> EventPage | None:
    """The reply of `follow`. A job that ended by itself gets its own last event after its work's."""
    if not reply:
        return None
    *texts, rest, entries, whole, before, kept = reply
    fields, work = _with_work(id, texts)
    work = work if kept else {}
    job = ended_with(fields, work)
    own, ended, placed = bool(job.get("own")), "status" in job, job.get("lane") != INTAKE
    last = int((job.get("last") if ended else work.get("seq")) or 0)
    known = [*_first(work), *map(_event, entries)]
    known += [*_rest(work, rest), *_end(work)] if whole else []
    events = [e for e in known if after < e.id and (e.id <= last or not ended)]
    seen = next((e for e in [*known, *map(_event, before)] if e.id == after), None)
    newest = last + 1 if own else last
    closes = (own or (ended and not events)) and whole and after < newest
    if closes:
        failure = json.loads(job.get("error") or "{}")
        events.append(Event(newest, job["status"], failure, int(job["ended"])))
    lost = (placed and not work) or "lost" in job
    forgot = not lost and (after > newest or (bool(work) and 0 < after <= last and seen is None))
    unread = "unread" in work and any(e.type == "text" for e in events)
    source = job.get("leader", id) if placed else None
    return EventPage(tuple(events), source, ended, newest, seen, forgot, lost, unread)


def _first(work: Record) -> list[Event]:
    """What a record tells of the beginning of its work."""
    events = []
    if "queued_id" in work:
        at_ms = work["placed" if "placed" in work else "created"]
        events.append(Event(work["queued_id"], "queued", {}, int(at_ms)))
    if "running_id" in work:
        events.append(Event(work["running_id"], "running", {"attempt": 1}, int(work["started"])))
    return events


def _rest(work: Record, rest: str) -> list[Event]:
    """Its last texts."""
    datas = json.loads(rest) if rest else []
    return [Event(work["rest_id"] + at, "text", data, int(work["ended"])) for at, data in enumerate(datas)]


def _end(work: Record) -> list[Event]:
    if "status" not in work:
        return []
    return [Event(work["last"], work["status"], json.loads(work.get("error") or "{}"), int(work["ended"]))]


def text_event(news: str) -> Event:
    """A text event as a wake-up brings it."""
    entry_id, _, data = news.partition(" ")
    return _event((entry_id, ["text", data]))


def _event(entry: tuple[str, list[str]]) -> Event:
    entry_id, (kind, data) = entry
    number, _, at = entry_id.partition("-")
    return Event(int(number), kind, json.loads(data), int(at))
