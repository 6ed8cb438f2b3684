"""What maintenance does and workers say of themselves, in plain Python."""

from shared.store.constants import GRACE_ROUNDS, REMOVED
from shared.store.workers import State
from tests.store.machine.attempts import POISON, count_death
from tests.store.machine.model import Model
from tests.support.store import LANE

NODE = "node_01"


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
    return rescued


def due(model: Model) -> list[str]:
    """The lanes of what may go into line again."""
    waited = [w for w in model.all_work() if w.state == "retrying" and w.due <= model.now]
    for work in waited:
        work.state, work.queued_at = "queued", model.now
    return sorted(work.lane for work in waited)


def expire(model: Model) -> set[str]:
    """Return the jobs that end because they are too late."""
    late = [job for job in model.jobs.values() if not job.status and model.is_late(job)]
    for job in late:
        model.fail_late(job)
    return {job.id for job in late}


def beat(model: Model, worker: str, state: State, fingerprint: str) -> str:
    """Who stops being ready is no longer read the cache for."""
    watch(model)
    # The whole list goes where nobody spoke up for so long.
    if all(beaten <= model.alive_since for beaten in model.ready.values()):
        model.ready = {}
    was_ready = worker in model.ready
    _present(model, worker, state)
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


def _present(model: Model, id: str, state: str) -> None:
    kinds = {"cold": model.cold} if id == NODE else {"ready": model.ready, "loading": model.loading}
    for word, known in kinds.items():
        for name in [n for n, beaten in known.items() if n == id or beaten <= model.alive_since]:
            del known[name]
        if state == word:
            known[id] = model.beaten[word] = model.now


def node_beat(model: Model, *, gone: bool) -> None:
    watch(model)
    _present(model, NODE, "gone" if gone else "cold")


def place(model: Model, worker: str, known: int) -> str:
    """Whoever finds more workers than it knew of starts none."""
    watch(model)
    if model.ready.get(worker, -1) >= model.alive_since:
        return "OK"
    _present(model, worker, "gone")
    others = [
        beaten for beaten in (*model.ready.values(), *model.loading.values()) if beaten >= model.alive_since
    ]
    if len(others) > known:
        return "taken"
    _present(model, worker, "loading")
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
