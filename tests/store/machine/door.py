"""How the door answers, in plain Python: known, refused, a hit, a join, a wait for inputs, a new run."""

from dataclasses import dataclass

from shared.store.admission import Placing
from shared.store.constants import REMOVED
from shared.store.keys import INTAKE
from tests.store.machine.model import Model
from tests.store.machine.work import Job, Work


@dataclass(frozen=True)
class Terms:
    """How a request is posted, beside what it asks."""

    pending: bool = False
    idempotency: str | None = None
    body: str = ""
    must_be_ready: bool = False
    finish_by_ms: int | None = None
    hook: str | None = None
    unstored: bool = False
    retain_s: int | None = None


def submit(model: Model, placing: Placing, terms: Terms, *, uploaded: bool) -> str:
    """The word that the door says; it has happened then."""
    model.notice_gap()
    if placing.job in model.jobs:
        return "known"
    name = (placing.caller, terms.idempotency or "")
    if terms.idempotency and name in model.named:
        body, job_id, _ = model.named[name]
        if body != terms.body:
            return "mismatch"
        return "known" if job_id in model.jobs else "purged" if job_id in model.told else "expired"
    if model.removed:
        return "removed"
    hit = None if terms.pending else _cached(model, placing)
    run = None if terms.pending or hit else _joinable(model, placing)
    if word := None if hit else _refusal(model, placing, terms, joins=run is not None):
        return word
    if not (hit or run or uploaded) and _missing(model, placing):
        return "pictures"
    job = _opened(model, placing, terms)
    model.jobs[job.id] = job
    if terms.idempotency:
        model.named[name] = (
            terms.body,
            job.id,
            model.now + round(model.settings.retention.idempotency_s * 1000),
        )
    if terms.pending:
        return _take_in(model, job, placing)
    return _place(model, job, placing, hit, run)


def _opened(model: Model, placing: Placing, terms: Terms) -> Job:
    return Job(
        placing.job,
        placing.caller,
        placing.priority,
        model.now,
        finish_by=terms.finish_by_ms,
        hook=terms.hook,
        unstored=terms.unstored,
        retain_ms=None if terms.retain_s is None else terms.retain_s * 1000,
        idempotency=terms.idempotency,
    )


def admit(model: Model, placing: Placing, token: str) -> str:
    """What the courier hears."""
    job = model.jobs.get(placing.job)
    if job and job.admitted_by == token:
        return "placed"
    if job is None or job.intake is None or job.intake.token != token:
        return "lost"
    job.admitted_by = token
    if job.intake.generation < model.generation:
        model.drop_uploads(job.id, tuple(placing.blobs))
        model.fail(job.intake, REMOVED)
        return "placed"
    if not model.leave_late(job.intake):
        model.drop_uploads(job.id, tuple(placing.blobs))
        return "placed"
    job.intake, job.blobs = None, ()
    hit = _cached(model, placing)
    run = None if hit else _joinable(model, placing)
    return "placed" if _place(model, job, placing, hit, run) == "known" else "queued"


def _place(model: Model, job: Job, placing: Placing, hit: Work | None, run: Work | None) -> str:
    blobs = tuple(placing.blobs)
    model.drop_uploads(job.id, blobs)
    if hit:
        job.run, job.cache = hit, "HIT"
        hit.holders.add(job.id)
        hit.kept = max(hit.kept, model.now + model.retention_ms(job))
        hit.needed = max(hit.needed, hit.kept, model.now + model.needed_ms(job))
        model.end_job(job, "succeeded", len(hit.events), None, own=False)
        return "known"
    job.cache = "COALESCED" if run else "MISS" if placing.key else "BYPASS"
    if run is None:
        job.run = Work(placing.job, placing.lane, placing.caller, blobs, placing.request, cost=placing.cost)
        job.run.key, job.run.retain_ms, job.run.stored = placing.key, job.retain_ms, not job.unstored
        job.run.rows, job.run.generation = placing.rows, model.generation
        model.runs[job.run.id] = job.run
        model.enqueue(job.run)
        job.run.tell("queued")
    else:
        job.run, job.joined_at = run, model.now
        if run.retain_ms != job.retain_ms:
            run.retain_ms = max(model.retention_ms(run), model.retention_ms(job))
        if run.started:
            model.announce(job, "began")
    job.run.needed_ms = max(job.run.needed_ms, model.needed_ms(job))
    job.run.live.append(job)
    job.run.asked.append(job.priority)
    job.run.holders.add(job.id)
    return "known" if run else "queued"


def _take_in(model: Model, job: Job, placing: Placing) -> str:
    blobs = tuple(placing.blobs)
    model.drop_uploads(job.id, blobs)
    job.blobs = blobs
    job.intake = Work(job.id, INTAKE, job.caller, blobs, placing.request, terms="{}", live=[job])
    job.intake.asked.append(job.priority)
    job.intake.stored, job.intake.generation = not job.unstored, model.generation
    model.enqueue(job.intake)
    return "intake"


def _cached(model: Model, placing: Placing) -> Work | None:
    if placing.key is None:
        return None
    found = (model.entry(placing.key, fingerprint) for fingerprint in model.live_prints())
    return next((run for run in found if run), None)


def _joinable(model: Model, placing: Placing) -> Work | None:
    served = [r for r in model.runs.values() if r.generation == model.generation and not r.over]
    same = [r for r in served if placing.key and r.key == placing.key]
    assert len(same) < 2, "two runs in flight do the same"
    return same[0] if same else None


def _refusal(model: Model, placing: Placing, terms: Terms, *, joins: bool) -> str | None:
    if model.draining:
        return "draining"
    if terms.must_be_ready and model.paused:
        return "paused"
    if terms.must_be_ready and not any(beaten >= model.alive_since for beaten in model.ready.values()):
        return "unready"
    for lane in [] if joins else [placing.lane, INTAKE][: 1 + terms.pending]:
        waiting = model.waiting(lane)
        if len(waiting) >= model.settings.queue.max_queued:
            return "full"
        own = [w for w in waiting if w.caller == placing.caller and not w.suspect]
        if len(own) >= model.settings.queue.max_queued_caller:
            return "crowded"
    return None


def _missing(model: Model, placing: Placing) -> bool:
    holds = model.holds()
    return any(
        all(holder.startswith("upload:") for holder in holds.get(digest, ())) for digest in placing.blobs
    )
