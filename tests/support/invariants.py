"""What must hold of the records after any history; each broken rule is one line."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from shared.job import ENDED, Event, JobView

RUN, JOB = re.compile(r"^sl3:(run_[0-9a-f]+)$"), re.compile(r"^sl3:(job_[0-9a-f]+)$")
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
    """Work that stands in no line, or not where its state says; one line each."""
    yield from _nowhere(dump)
    yield from _out_of_line(dump)


def _nowhere(dump: dict[str, Any]) -> Iterator[str]:
    places: dict[str, list[str]] = {}
    for key, entries in dump.items():
        if key in ("sl3:lease", "sl3:schedule") or key.startswith("sl3:queue:"):
            for work, _ in entries:
                places.setdefault(work, []).append(key)
    for key, record in dump.items():
        if found := RUN.match(key):
            yield from _misplaced_run(found.group(1), record, places.pop(found.group(1), []), dump)
        elif found := JOB.match(key):
            yield from _misplaced_job(found.group(1), record, places.pop(found.group(1), []), dump)
    yield from (f"{work} is gone but stands in {where}" for work, where in places.items())


def subscribers(run: str, dump: dict[str, Any]) -> set[str]:
    joined: set[str] = dump.get(f"sl3:{run}:live", set())
    opener = dump.get(f"sl3:{run}", {}).get("opener")
    return joined | ({opener} if opener else set())


def _misplaced_run(run: str, record: dict[str, str], where: list[str], dump: dict[str, Any]) -> Iterator[str]:
    live = subscribers(run, dump)
    if record["state"] in ENDED:
        if where or live or "token" in record:
            yield f"{run} has ended but stands in {where}, with subscribers {live}"
        return
    expected = {"queued": f"sl3:queue:{record['lane']}", "retrying": "sl3:schedule"}.get(
        record["state"], "sl3:lease"
    )
    claimed = run in dump.get(f"sl3:running:{record['lane']}", set())
    if claimed != (record["state"] == "running"):
        yield f"{run} is {record['state']} but counted otherwise"
    if where != [expected]:
        yield f"{run} is {record['state']} and stands in {where}"
    if ("token" in record) != (record["state"] == "running"):
        yield f"{run} is {record['state']} with token {record.get('token')}"
    if not live:
        yield f"{run} is {record['state']} for nobody"
    for job in live:
        subscriber = dump.get(f"sl3:{job}", {})
        if "status" in subscriber or subscriber.get("run") != run:
            yield f"{run} has the subscriber {job}, which is {subscriber}"


def _misplaced_job(job: str, record: dict[str, str], where: list[str], dump: dict[str, Any]) -> Iterator[str]:
    waits_for_pictures = "run" not in record and "status" not in record
    if len(where) != int(waits_for_pictures):
        yield f"{job} stands in {where}: {record}"
    if "run" in record and "status" not in record and job not in subscribers(record["run"], dump):
        yield f"{job} has not ended but its run does not know it"


def _out_of_line(dump: dict[str, Any]) -> Iterator[str]:
    """Waiting work must also stand in its caller's line or among the suspects; every line has its turn."""
    lines, turns, waiting = list[str](), set[str](), set[str]()
    for key, entries in dump.items():
        kind, _, rest = key.removeprefix("sl3:").partition(":")
        if kind == "queue":
            waiting |= {f"{rest} {work}" for work, _ in entries}
        elif kind == "turns":
            turns |= {f"{rest}:{caller}" for caller, _ in entries}
        elif kind == "suspects":
            lines += [f"{rest} {work}" for work, _ in entries]
        elif kind == "line":
            lines += [f"{rest.rsplit(':', 2)[0]} {work}" for work, _ in entries]
            if rest not in turns and f"sl3:turns:{rest.rsplit(':', 1)[0]}" not in dump:
                yield f"the line {rest} has no turn"
    if sorted(lines) != sorted(waiting):
        yield f"{waiting} wait, in line stand {lines}"
    yield from (f"{turn} has a turn and no line" for turn in turns if f"sl3:line:{turn}" not in dump)


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
