"""Whether the store says what the model says; each difference is one line."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from shared.job import ENDED, Attempt, JobView
from shared.store import jobs
from shared.store.keys import INTAKE
from tests.store.machine.model import Model
from tests.store.machine.work import Job, Work
from tests.support.invariants import Watch, misplaced, records_of, untold
from tests.support.store import LANE, Records

LANES = (LANE, INTAKE)
ENDLESS = 2**63
LASTING = re.compile(r"^sl9:(lanes|upkeep|lane:.*)$")


def differences(records: Records, model: Model, watch: Watch) -> list[str]:
    """After any step."""
    dump = records.dump()
    found = [*misplaced(dump), *_runs(dump, model), *_holds(dump, model), *_views(records, model, watch)]
    found += [*_lines(dump, model), *_claims(dump, model)]
    return [*found, *_calls(dump, model)]


def _lines(dump: dict[str, Any], model: Model) -> Iterator[str]:
    """Who waits, each caller's work in the order in which it came."""
    found = {
        key.removeprefix("sl9:"): [work for work, _ in entries]
        for key, entries in dump.items()
        if key.startswith(("sl9:line:", "sl9:suspects:"))
    }
    expected: dict[str, list[str]] = {}
    for lane in LANES:
        for work in model.waiting(lane):
            line = f"line:{lane}:{work.priority}:{work.caller}"
            expected.setdefault(f"suspects:{lane}" if work.suspect else line, []).append(work.id)
    yield from _unlike("the lines", found, expected)
    later = {work: int(due) for work, due in dump.get("sl9:later", ())}
    waits = {w.id: w.due for w in model.all_work() if w.state == "retrying"}
    yield from _unlike("what waits for its time", later, waits)


def _claims(dump: dict[str, Any], model: Model) -> Iterator[str]:
    """Who holds what, alone or beside others, and for how long."""
    running = [work for work in model.all_work() if work.state == "running"]
    leases = {w: int(end) for lane in LANES for w, end in dump.get(f"sl9:lease:{lane}", ())}
    yield from _unlike("the leases", leases, {work.id: work.expires for work in running})
    held = {
        (key.removeprefix("sl9:held:"), token): claim
        for key, claims in dump.items()
        if key.startswith("sl9:held:")
        for token, claim in claims.items()
    }
    company = {True: "*", False: ""}
    expected = {(w.worker, w.token): f"{w.id} {w.lane} {w.rows}{company[w.company]}" for w in running}
    if held != expected:
        yield f"workers hold {held}, should hold {expected}"


def misread(records: Records, model: Model, job: Job) -> list[str]:
    """Where a job's stream is another than that of its run, and of its own end."""
    events = records.events(job.id, caller=job.caller)
    told, expected = [(e.id, e.type, e.data) for e in events], model.story(job)
    wrong = [] if told == expected else [f"{job.id} told {told}, not {expected}"]
    if job.run is not None and "text" in {kind for _, kind, _ in told}:
        job.run.unread = False
    if job.run is None or job.run.id in model.runs:
        wrong += untold(records.view(job.id, job.caller), events)
    return wrong


def lasting(records: Records) -> list[str]:
    """What stays for ever and should not, once everything has ended."""
    stays = {key for key in records.key_names() if records.client.ttl(key) == -1}
    return [f"{key} stays for ever" for key in stays if not LASTING.match(key)]


def _runs(dump: dict[str, Any], model: Model) -> Iterator[str]:
    found = {
        id
        for id, record in records_of(dump)
        if "state" in record and record["lane"] != INTAKE and int(record.get("kept", ENDLESS)) > model.now
    }
    if found != set(model.runs):
        yield f"there is the work {found}, not {set(model.runs)}"
    for run in model.runs.values():
        record = dump.get(f"sl9:{run.id}", {})
        yield from _unlike(run.id, _of_run(record), _expected_of(run))
        told = [kind for _, fields in dump.get(f"sl9:{run.id}:events", []) for kind in fields]
        rest = (record | dump.get(f"sl9:{run.id}:answer", {})).get("rest", "[]")
        told += ["text" for _ in json.loads(rest)]
        if told != _streamed(run):
            yield f"{run.id} told {told}, not {run.events}"
    entries = {key: run for key, run in dump.items() if key.startswith("sl9:cache:")}
    expected = {f"sl9:cache:{key}:{by}": run.id for (key, by), run in model.entries.items()}
    yield from _unlike("the cache", entries, expected)


def _streamed(run: Work) -> list[str]:
    """What its record does not tell: that it was queued, its first attempt and its end."""
    kinds = [kind for kind, _ in run.events if kind not in ("unsaid", "queued", *ENDED)]
    if "running" in kinds:
        kinds.remove("running")
    return kinds


def _of_run(record: dict[str, str]) -> dict[str, Any]:
    shown = {name: record.get(name, "") for name in ("state", "token", "worker", "caller")}
    if shown["state"] == "over":
        shown["state"] = json.loads(record["over"])["status"] if "over" in record else record["status"]
    shown["priority"] = record.get("class", record.get("priority", ""))
    return shown | {name: record.get(name, "0") for name in ("chars", "failures", "deaths")}


def _expected_of(run: Work) -> dict[str, Any]:
    """What has ended is no worker's any more."""
    return {
        "state": run.state,
        "token": run.token,
        "worker": run.worker,
        "caller": run.caller,
        "chars": str(len(run.text)),
        "failures": str(run.failures),
        "deaths": str(run.deaths),
        "priority": run.priority,
    }


def _holds(dump: dict[str, Any], model: Model) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for key, entries in dump.items():
        if key.startswith("sl9:blob:"):
            holders = {holder for holder, till in entries if till > model.now}
            found |= {key.removeprefix("sl9:blob:"): holders} if holders else {}
    yield from _unlike("the holders of pictures", found, model.holds())


def _calls(dump: dict[str, Any], model: Model) -> Iterator[str]:
    """Each call as it stands; of those for nobody some are dropped already."""
    book, now = model.book, model.now
    calls = {name: call for name, call in book.calls.items() if _is_for_somebody(name, model)}
    lines = {
        kind: {
            name: int(at)
            for key, entries in dump.items()
            if key.startswith(f"sl9:{kind}:")
            for name, at in entries
        }
        for kind in ("calls", "calling")
    }
    for name, call in calls.items():
        made, waits = lines["calling"].get(name), lines["calls"].get(name)
        # A call whose courier died waits again as soon as somebody looks at its host.
        stands = (
            (made == call.expires or (call.expires <= now and waits)) if call.token else waits == call.due
        )
        id, _, kind = name.partition(":")
        hook = dump.get(f"sl9:{id}:hook", {})
        said = hook.get(kind)
        if not stands or said != f"{call.tries} {call.token or '-'} {call.host}":
            yield f"{name} is made {made}, waits {waits}, says {said}; should be {call}"
    if odd := {name for line in lines.values() for name in line if name not in book.calls}:
        yield f"{odd} are to be made for nobody"
    failed = {
        key.removeprefix("sl9:failed:"): dict(entries) for key, entries in dump.items() if "failed:" in key
    }
    yield from _unlike("what failed", failed, {caller: jobs for caller, jobs in book.failed.items() if jobs})
    fetches = {job.caller: model.fetches(job.caller) for job in model.jobs.values()}
    found = {name: int(count) for name, count in dump.get(f"sl9:busy:{INTAKE}", {}).items()}
    yield from _unlike("whose inputs are fetched", found, +Counter(fetches))


def _is_for_somebody(name: str, model: Model) -> bool:
    job = name.partition(":")[0]
    return job in model.jobs and job not in model.book.gone


def _views(records: Records, model: Model, watch: Watch) -> Iterator[str]:
    callers = {job.caller for job in model.jobs.values()}
    for caller in callers:
        page = records.run(jobs.jobs(records.settings, caller, after=None, limit=200))
        views = list(page.views) if page else []
        everything = [job for job in model.jobs.values() if job.caller == caller]
        own = sorted((j for j in everything if not j.unstored), key=lambda j: -j.created)
        if [v.id for v in views] != [j.id for j in own]:
            yield f"{caller} has {[v.id for v in views]}, not {[j.id for j in own]}"
        said = records.listed(limit=200, caller=caller, metadata={"class": "batch"})
        if [v.id for v in said.views] != [j.id for j in own if j.priority == "batch"]:
            yield f"{caller} has of the class batch {said}, not those of {[j.id for j in own]}"
        unlisted = [job for job in everything if job.unstored]
        own, views = own + unlisted, views + [records.view(job.id, caller) for job in unlisted]
        for view, job in zip(views, own, strict=False):
            yield from _unlike(job.id, _of_view(view), _expected_view(model, job))
            yield from _odd(view)
            yield from watch.changed(view)


def _of_view(view: JobView) -> dict[str, Any]:
    names = ("status", "run_id", "cache", "attempts", "error", "result", "waiting_reason", "last_event")
    return {name: getattr(view, name) for name in (*names, "priority", "created_ms", "ended_ms")}


def _expected_view(model: Model, job: Job) -> dict[str, Any]:
    kept = job.run if job.run and job.run.id in model.runs else None
    return {
        "status": job.status or ("running" if kept and kept.started else "queued"),
        "run_id": job.run.id if job.run else None,
        "cache": job.cache,
        "attempts": tuple(_seen_attempts(_attempts(kept, job), job)),
        "error": job.error,
        "result": kept.result if kept and job.status == "succeeded" else None,
        "waiting_reason": _waiting_reason(model, job),
        "last_event": job.last + job.own if job.status else len(kept.events) if kept else 0,
        "priority": job.priority,
        "created_ms": job.created,
        "ended_ms": job.ended if job.status else None,
    }


def _attempts(kept: Work | None, job: Job) -> list[Attempt]:
    if job.run is None:
        return job.fetches
    return kept.attempts if kept else []


def _seen_attempts(attempts: list[Attempt], job: Job) -> Iterator[Attempt]:
    """What comes after a job's own end is no longer its affair."""
    for attempt in attempts:
        if not job.status or (attempt.ended_ms is not None and attempt.ended_ms <= job.ended):
            yield attempt
        elif attempt.started_ms <= job.ended:
            yield Attempt(attempt.number, attempt.worker, attempt.started_ms)


def _waiting_reason(model: Model, job: Job) -> str | None:
    work = job.work
    if job.status or work is None or (job.run and work.state == "running"):
        return None
    if work.state == "retrying":
        return "retrying"
    if job.run is None:
        return "fetching_inputs"
    if model.paused:
        return "paused"
    if any(beaten >= model.alive_since for beaten in model.ready.values()):
        return "busy"
    loads = (*model.loading.values(), *model.cold.values())
    return "model_loading" if any(b >= model.alive_since for b in loads) else "no_worker"


def _odd(view: JobView) -> Iterator[str]:
    """What is foretold is not held against the model, but it has to make sense."""
    if (view.ahead is None) != (view.waiting_reason is None):
        yield f"{view.id} waits because {view.waiting_reason} and is told {view.ahead}"
    if view.estimate and view.waiting_reason is None:
        yield f"{view.id} does not wait and is told {view.estimate}"
    if view.estimate and not 0 <= view.estimate.p50 <= view.estimate.p90:
        yield f"{view.id} is told {view.estimate}"


def _unlike(what: str, found: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    for name in sorted(found.keys() | expected.keys()):
        if expected.get(name) is not ... and found.get(name) != expected.get(name):
            yield f"{what}: {name} is {found.get(name)}, should be {expected.get(name)}"
