"""What maintenance does and workers say of themselves, in plain Python."""

from shared.store.constants import GRACE_ROUNDS, REMOVED
from shared.store.keys import HOOK
from shared.store.workers import State
from tests.store.machine.attempts import POISON, count_death
from tests.store.machine.model import Model, too_late
from tests.support.store import LANE


def watch(model: Model) -> bool:
    """Whether workers are given time to renew: nobody could write for long."""
    gone, model.watched = model.notice_gap(), model.now
    if gone:
        model.spared = model.now + round(GRACE_ROUNDS * model.settings.queue.renew_s * 1000)
    return model.spared > model.now


def rescue(model: Model) -> dict[str, str]:
    """The lane of each piece that was taken from its worker; empty where that was the end of it."""
    if watch(model):
        return {}
    late = [w for w in model.all_work() if w.state == "running" and w.expires <= model.now]
    rescued = {}
    for work in late:
        if count_death(model, work):
            work.close_attempt("worker_lost", model.now)
            model.fail(work, POISON)
            rescued[work.id] = ""
        else:
            rescued[work.id] = model.requeue(work, "worker_lost")
    return rescued | dict.fromkeys(model.book.rescue(), HOOK)


def due(model: Model) -> list[str]:
    """The lanes of what may go into line again."""
    waited = [w for w in model.all_work() if w.state in ("scheduled", "retrying") and w.due <= model.now]
    for work in sorted(waited, key=lambda w: (w.due, w.id)):
        if work.state == "scheduled":
            model.enqueue(work)
        else:
            work.state, work.queued_at = "queued", model.now
    return sorted([*(work.lane for work in waited), *(HOOK for _ in model.book.due())])


def expire(model: Model) -> set[str]:
    """The jobs that end because one of their times has passed."""
    late = {job.id: which for job in model.jobs.values() if not job.status and (which := model.late(job))}
    for job, which in late.items():
        model.leave(model.jobs[job], "failed", too_late(which))
    return set(late)


def beat(model: Model, worker: str, state: State, fingerprint: str) -> str:
    """Who stops being ready is no longer read the cache for."""
    watch(model)
    # The whole list goes where nobody spoke up for so long.
    if all(beaten <= model.alive_since for beaten in model.ready.values()):
        model.ready = {}
    was_ready = worker in model.ready
    for known, word in ((model.ready, "ready"), (model.loading, "loading")):
        for name in [n for n, beaten in known.items() if n == worker or beaten <= model.alive_since]:
            del known[name]
        if state == word:
            known[worker] = model.beaten[word] = model.now
    if model.removed:
        model.prints.clear()
    elif state == "ready":
        model.prints[fingerprint] = model.now
    elif was_ready:
        model.prints[fingerprint] = model.fresh - 1
    if model.emptying.get(LANE, ("", 0))[0] == worker:
        goes_on = state != "gone" and any(work.suspect for work in model.waiting(LANE))
        model.emptying[LANE] = (worker, model.now + (model.lease_ms if goes_on else 0))
    return "OK"


def pause(model: Model, *, paused: bool) -> None:
    model.paused = paused
    model.draining = model.draining and paused


def remove(model: Model) -> None:
    model.generation += not model.removed
    model.removed, model.paused, model.draining = True, False, False
    model.prints.clear()


def sweep(model: Model) -> int:
    """Whatever waits since before a removal ends, wherever it does; what runs goes on."""
    waiting = [w for w in model.all_work() if w.state != "running" and w.generation < model.generation]
    for work in waiting:
        model.fail(work, REMOVED)
    return len(waiting)
