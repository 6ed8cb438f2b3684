"""What must hold of the records after any history; each broken rule is one line."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from shared.job import Event, JobView

JOB = re.compile(r"^sl9:(job_[0-9a-f]+)$")
BATCH = re.compile(r"^sl9:(batch_[0-9a-f]+)$")
HOOK = re.compile(r"^sl9:(\w+):hook$")
CLASSES = ("interactive", "normal", "batch")
SUSPECT_DEATHS = 2
COUNTS = ("n1", "n2", "n3", "x1", "x2", "x3", "wide_queued", "wide_running", "later")
RANK = {"queued": 0, "running": 1, "succeeded": 2, "failed": 2, "cancelled": 2}


class Watch:
    """Remembers what each job has shown, to see that none goes backwards or changes after its end."""

    def __init__(self) -> None:
        self._seen: dict[str, JobView] = {}

    def changed(self, view: JobView) -> Iterator[str]:
        """Forbidden changes since the last look at this job."""
        old = self._seen.get(view.id, view)
        self._seen[view.id] = view
        if RANK[view.status] < RANK[old.status]:
            yield f"{view.id} went back from {old.status} to {view.status}"
        # An ended job's run may expire before the job.
        gone = replace(old, started_ms=None, attempts=(), result=None, computed=None, request_hash=None)
        gone = replace(gone, last_event=view.last_event)
        # Its webhook is told after its end.
        old, gone = replace(old, hook=view.hook), replace(gone, hook=view.hook)
        if old.ended and view not in (old, gone):
            yield f"{view.id} changed after its end: {old} to {view}"


def misplaced(dump: dict[str, Any]) -> Iterator[str]:
    """Work that stands elsewhere than its state says, and counts that are no recount; one line each."""
    yield from _nowhere(dump)
    yield from _misplaced_calls(dump)
    yield from _out_of_turn(dump)
    yield from _miscounted(dump)
    yield from _unclaimed(dump)
    yield from _mischarged(dump)


def _under(dump: dict[str, Any], kind: str) -> Iterator[tuple[str, Any]]:
    """What is kept of a kind, by what follows its name."""
    prefix = f"sl9:{kind}:"
    return ((key.removeprefix(prefix), value) for key, value in dump.items() if key.startswith(prefix))


def records_of(dump: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    for key, record in dump.items():
        if found := JOB.match(key):
            yield found.group(1), record


def _works(dump: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Jobs that are computed or will be or whose inputs are to be fetched, and batches."""
    return {
        id: record
        for id, record in [*records_of(dump), *_batches(dump)]
        if record.get("state", "over") != "over"
    }


def _class(record: dict[str, str]) -> str:
    return record.get("class", record["priority"])


def _batches(dump: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    return [(found.group(1), record) for key, record in dump.items() if (found := BATCH.match(key))]


def _place(record: dict[str, str]) -> str:
    """Where work stands."""
    lane, suspect = record["lane"], int(record.get("deaths", 0)) >= SUSPECT_DEATHS
    line = f"line:{lane}:{_class(record)}:{record['caller']}"
    places = {"queued": f"suspects:{lane}" if suspect else line, "running": f"lease:{lane}"}
    return places.get(record["state"], "later")


def _nowhere(dump: dict[str, Any]) -> Iterator[str]:
    places: dict[str, list[str]] = {work: ["later"] for work, _ in dump.get("sl9:later", ())}
    for kind in ("line", "suspects", "lease"):
        for rest, entries in _under(dump, kind):
            for work, _ in entries:
                places.setdefault(work, []).append(f"{kind}:{rest}")
    for id, record in records_of(dump):
        yield from _misplaced_job(id, record, places.pop(id, []), dump)
    for id, record in _batches(dump):
        where = places.pop(id, [])
        if where != ([_place(record)] if "lane" in record else []):
            yield f"{id} stands in {where}: {record}"
    yield from (f"{work} is gone but stands in {where}" for work, where in places.items())
    unended = {id for id, record in records_of(dump) if "status" not in record}
    if (timed := {job for job, _ in dump.get("sl9:deadlines", ())}) != unended:
        yield f"{timed - unended} have ended and are looked at; {unended - timed} are never"


def followers(leader: str, dump: dict[str, Any]) -> set[str]:
    """Those that wait for its end."""
    return {job for job, till in dump.get(f"sl9:{leader}:followers", ()) if till == float("inf")}


def _misplaced_job(job: str, record: dict[str, str], where: list[str], dump: dict[str, Any]) -> Iterator[str]:
    live = followers(job, dump)
    if record.get("state", "over") == "over":
        if where or live or "token" in record:
            yield f"{job} stands in {where}, with followers {live}: {record}"
        if "status" not in record and job not in followers(record.get("leader", ""), dump):
            yield f"{job} has not ended and is no work, nor does it follow any: {record}"
        return
    if where != [_place(record)]:
        yield f"{job} is {record['state']} and stands in {where}, not in {_place(record)}"
    if ("token" in record) != (record["state"] == "running"):
        yield f"{job} is {record['state']} with token {record.get('token')}"
    if not live and "status" in record:
        yield f"{job} is {record['state']} for nobody"
    for follower in live:
        found = dump.get(f"sl9:{follower}", {})
        if "status" in found or found.get("leader") != job:
            yield f"{job} has the follower {follower}, which is {found}"


def _misplaced_calls(dump: dict[str, Any]) -> Iterator[str]:
    """Each call stands once, in the line that its job names, and each host with calls has its turn."""
    lines = [
        (host, call)
        for kind in ("calls", "calling")
        for host, entries in _under(dump, kind)
        for call, _ in entries
    ]
    named = {
        (hook[kind].rpartition(" ")[2], f"{found.group(1)}:{kind}")
        for key, hook in dump.items()
        if (found := HOOK.match(key))
        for kind in ("began", "ended")
        if kind in hook
    }
    if len(set(lines)) < len(lines) or not named <= set(lines):
        yield f"the calls {named} stand in {lines}"
    if (turns := {host for host, _ in dump.get("sl9:calls", ())}) != {host for host, _ in lines}:
        yield f"the hosts {turns} have turns, and calls wait in {lines}"


def _out_of_turn(dump: dict[str, Any]) -> Iterator[str]:
    """Every line has its turn, and a class in which nothing waits has no turns."""
    turns = {line: {caller for caller, _ in entries} for line, entries in _under(dump, "turns")}
    lines: dict[str, set[str]] = {}
    for rest, _ in _under(dump, "line"):
        line, _, caller = rest.rpartition(":")
        lines.setdefault(line, set()).add(caller)
    for line, callers in lines.items():
        if missing := callers - turns.get(line, set()):
            yield f"in {line} {missing} have work and no turn"
    yield from (f"{line} is empty and has turns {turns[line]}" for line in turns.keys() - lines.keys())


def _miscounted(dump: dict[str, Any]) -> Iterator[str]:
    """What a lane counts is what stands in its lines."""
    counted = {
        lane: Counter({name: int(float(record.get(name, 0))) for name in COUNTS})
        for lane, record in _under(dump, "lane")
    }
    stands: dict[str, Counter[str]] = {lane: Counter() for lane in counted}
    for record in _works(dump).values():
        lane, place = record["lane"], _place(record).partition(":")[0]
        count = stands.setdefault(lane, Counter())
        if place == "later":
            count["later"] += 1
        elif place in ("line", "suspects"):
            count[("n" if place == "line" else "x") + str(CLASSES.index(_class(record)) + 1)] += 1
        wide = {"queued": "wide_queued", "running": "wide_running"}.get(record["state"])
        if wide:
            count[wide] += int(record.get("rows", 1)) - 1
    for lane, count in stands.items():
        if +count != +counted.get(lane, Counter()):
            yield f"{lane} counts {counted.get(lane)}, there are {count}"
    works = {record["lane"] for record in _works(dump).values() if _place(record) != "later"}
    if missing := works - dump.get("sl9:lanes", set()):
        yield f"{missing} have work and are not in lanes"


def _unclaimed(dump: dict[str, Any]) -> Iterator[str]:
    """A worker holds what says that the worker computes it."""
    held = {
        (worker, token): claim.rstrip("*").split()
        for worker, claims in _under(dump, "held")
        for token, claim in claims.items()
    }
    running = {
        (record["worker"], record.get("token")): [id, record["lane"], record.get("rows", "1")]
        for id, record in _works(dump).items()
        if record["state"] == "running"
    }
    if held != running:
        yield f"workers hold {held}, {running} is computed"


def _mischarged(dump: dict[str, Any]) -> Iterator[str]:
    """Callers are charged what their records say, and what has expired until that hour is folded.

    Webhooks that are still to be called keep records for longer than that.
    """
    charged, passing = Counter[str](), dict[str, Counter[str]]()
    folded = int(dump.get("sl9:upkeep", {}).get("folded", 0))
    for id, record in records_of(dump):
        over = record.get("state", "over" if "status" in record else "") == "over"
        for charge in filter(None, (dump.get(f"sl9:{name}", {}).get("m") for name in (id, f"{id}:answer"))):
            room, size, hour, caller = charge.split(" ", 3)
            if caller != record["caller"] or (over and int(room)):
                yield f"{id} of {record['caller']} is charged {charge}"
            charged[""] += int(room)
            if int(hour) > folded:
                passing.setdefault(hour, Counter()).update({caller: int(room) + int(size)})
    for hour, callers in _under(dump, "keep"):
        kept = Counter({caller: int(size) for caller, size in callers.items()})
        charged.update(kept)
        if min(kept.values()) < 0 or passing.pop(hour, Counter()) - kept:
            yield f"in the hour {hour} goes {kept}, of records that live {passing.get(hour)}"
    if passing:
        yield f"nothing goes in the hours of {passing}"
    found = {caller: int(size) for caller, size in dump.get("sl9:mem", {}).items()}
    if found != {caller: size for caller, size in charged.items() if size}:
        yield f"charged is {found}, not {charged}"


def untold(view: JobView, events: list[Event]) -> Iterator[str]:
    """What is wrong with a stream whose run is still kept."""
    ids = [e.id for e in events]
    if ids != sorted(set(ids)):
        yield f"{view.id}: event ids are {ids}"
    if ids[-1:] != [view.last_event] * bool(view.last_event):
        yield f"{view.id} says that event {view.last_event} is its last, has {ids}"
    if [e.last for e in events] != [False] * (len(events) - 1) + [view.ended] * bool(events):
        yield f"{view.id} is {view.status}, its events are {[e.type for e in events]}"
    if view.ended and events[-1].type != view.status:
        yield f"{view.id} is {view.status}, its last event is {events[-1].type}"
    end = 0
    for event in events:
        if event.type == "text":
            if event.data["start"] != end:
                yield f"{view.id}: text at {event.data['start']} follows on text to {end}"
            end += len(event.data["text"])
