"""What becomes of claimed work, in plain Python."""

from collections.abc import Sequence
from dataclasses import replace

from shared.job import Attempt, AttemptError
from shared.result import JobError, Result
from shared.store.claims import Claim
from tests.store.machine.model import Model
from tests.store.machine.work import Work
from tests.support.store import MODEL

LONGEST_BACKOFF_MS = 60_000
UNHEARD_MS = 3000
POISON = JobError(code="poison", message="3 workers were lost on this request alone.")


def lease(model: Model, work: Work, *, worker: str, token: str, fingerprint: str) -> Claim:
    """What the worker is handed."""
    number = len(work.attempts) + 1
    work.attempts.append(Attempt(number, worker, model.now))
    work.state, work.worker, work.token, work.charged = "running", worker, token, True
    work.expires = model.now + model.lease_ms
    others = [w for w in model.held(worker) if w is not work]
    for one in (work, *others) if others else ():
        one.company = True
    if work.is_run:
        if work.fingerprint != fingerprint and work.unread:
            work.unsay()
        work.mixed = work.mixed or (bool(work.text) and work.fingerprint != fingerprint)
        work.fingerprint = fingerprint
        work.tell("running", attempt=number)
        for job in work.live if number == 1 else ():
            model.announce(job, "began")
    return Claim(
        work.id,
        token,
        work.request,
        work.terms,
        number,
        len(work.text),
        work.caller,
        work.mixed,
        work.stored,
        MODEL,
        work.priority,
        model.now - work.queued_at,
        rows=work.rows,
        lane=work.lane,
    )


def append(model: Model, claim: Claim, start: int, text: str) -> str:
    run = model.holder_of(claim.id, claim.token)
    if run is None or (start + len(text) > len(run.text) and start != len(run.text)):
        return "lost"
    if start == len(run.text):
        run.unread = run.unread or not run.text
        run.text += text
        run.tell("text", start=start, text=text, ids=[1])
    return "ok"


def settle(
    model: Model, claim: Claim, outcome: Result | JobError, fingerprint: str, rest: str, *, stored: bool
) -> str:
    """`stored`: a record outlives its answer, and a deleted leader's its job: the store says for how long."""
    if stored and claim.token in model.settled:
        return "settled"
    run = model.holder_of(claim.id, claim.token)
    if run is None:
        return "lost"
    if not model.leave_late(run):
        return "lost"
    model.settled.add(claim.token)
    if rest:
        run.tell("text", start=len(run.text), text=rest, ids=[1])
        run.text += rest
    if isinstance(outcome, JobError):
        model.end_run(run, "failed", outcome)
        return "settled"
    run.result = outcome
    if run.key and not run.mixed:
        model.entries[run.key, fingerprint] = run
    model.end_run(run, "succeeded")
    return "settled"


def fail_intake(model: Model, claim: Claim, error: JobError) -> str:
    job = model.jobs.get(claim.id)
    if job and claim.token in model.settled:
        return "settled"
    work = model.holder_of(claim.id, claim.token)
    if work is None or job is None:
        return "lost"
    model.settled.add(claim.token)
    model.fail(work, error)
    return "settled"


def count_death(model: Model, work: Work) -> bool:
    """Whether it was once too often."""
    work.deaths += 1
    work.deaths_alone += not work.company
    return work.deaths_alone >= model.settings.queue.max_deaths


def give_back(model: Model, claim: Claim, error: JobError | None, reason: str, died: bool) -> str | None:
    """The lane to nudge."""
    work = model.holder_of(claim.id, claim.token)
    if work is None:
        return None
    if died and count_death(model, work):
        model.fail(work, POISON)
        return None
    if error is None:
        return model.requeue(work, reason) or None
    work.failures += 1
    work.attempts[-1] = replace(work.attempts[-1], error=AttemptError(error.code, error.message))
    if work.failures >= model.settings.queue.max_failures:
        model.fail(work, error)
        return None
    if model.ended_with_model(work, reason):
        return None
    model.leave_lease(work, reason)
    pause = round(model.settings.queue.backoff_s * 1000) * 2 ** (work.failures - 1)
    work.state, work.queued_at, work.due = "retrying", model.now, model.now + min(pause, LONGEST_BACKOFF_MS)
    return None


def renew(model: Model, worker: str, claims: Sequence[Claim]) -> list[str]:
    """The tokens that are no longer good, or another's. What the worker never heard of goes back."""
    lost, lease_ms = [], model.lease_ms
    for claim in claims:
        work = model.holder_of(claim.id, claim.token)
        if work is None or work.worker != worker:
            lost.append(claim.token)
        else:
            work.expires = model.now + lease_ms
    for work in model.held(worker):
        claimed = work.expires - lease_ms
        if work.id not in {claim.id for claim in claims} and model.now - claimed > UNHEARD_MS:
            model.requeue(work, "claim_lost")
    return lost
