"""Which work a worker may be handed: any head of a caller's line, and of suspects the first, alone."""

from shared.store.claims import Claim
from shared.store.constants import REMOVED
from tests.store.machine import attempts
from tests.store.machine.model import Model
from tests.store.machine.turns import Ledger
from tests.store.machine.work import CLASSES, Work

PATIENCE_MS = 1_000
FETCHES_EACH = 12
"""Of a caller at once, while no courier beats."""


def expected_claim(
    model: Model,
    ledger: Ledger,
    got: str | None,
    ended: set[str],
    *,
    again: bool = False,
    lane: str,
    worker: str,
    token: str,
    fingerprint: str,
) -> Claim | None:
    """What is right, where the work `got` was handed out, and `ended` came to its turn and ended by that.

    Whose turn it was is not looked at here. `again` = so many ended that there was no look at the rest.
    """
    heads = _heads_behind(model, set(ended), lane, worker)
    if again:
        assert ended, "nothing ended, and nothing was handed out"
        return None
    if got is None:
        assert not heads, f"nothing was handed out, though {[work.id for work in heads]} wait"
        return None
    taken = next((work for work in heads if work.id == got), None)
    assert taken, f"{got} was handed out, though only {[work.id for work in heads]} may be"
    ledger.serve(model, taken)
    _pass(model, taken)
    assert taken.generation == model.generation, f"{got} was asked of another model"
    assert model.leave_late(taken), f"{got} was too late to begin"
    return attempts.lease(model, taken, worker=worker, token=token, fingerprint=fingerprint)


def _heads_behind(model: Model, left: set[str], lane: str, worker: str) -> list[Work]:
    """Who is next behind what came to its turn only to end."""
    heads = list[Work]()
    closed = lane != "intake" and (model.paused or model.removed)
    while not closed:
        heads = _offered(model, lane, worker)
        passed = next((work for work in heads if work.id in left), None)
        if passed is None:
            break
        left.discard(passed.id)
        _pass(model, passed)
        if passed.generation < model.generation:
            model.fail(passed, REMOVED)
        else:
            assert not model.leave_late(passed), f"{passed.id} was dropped"
    assert not left, f"{left} ended out of turn"
    return heads


def is_full(model: Model, lane: str, worker: str, slots: int) -> bool:
    """Whether it has to leave what waits to others: several answers of one run take a row each.

    Couriers have no rows.
    """
    full = lane != "intake" and sum(work.rows for work in model.held(worker)) >= slots
    return full and bool(model.waiting(lane)) and not (model.paused or model.removed)


def _pass(model: Model, work: Work) -> None:
    if work.suspect:
        model.emptying.pop(work.lane, None)


def _offered(model: Model, lane: str, worker: str) -> list[Work]:
    """What may be next for this worker."""
    held, waiting = model.held(worker), model.waiting(lane)
    if len(held) == 1 and held[0].suspect:
        return []
    lines: dict[tuple[str, str], Work] = {}
    for work in waiting:
        if not work.suspect and (lane != "intake" or model.fetches(work.caller) < FETCHES_EACH):
            lines.setdefault((work.priority, work.caller), work)
    heads = list(lines.values())
    suspect = next((work for work in waiting if work.suspect), None)
    if suspect is None:
        return heads
    patient = model.now - suspect.queued_at <= PATIENCE_MS
    if not held:
        own = CLASSES.index(suspect.priority)
        urgent = any(CLASSES.index(w.priority) < own for w in heads)
        return heads if patient and urgent else [suspect]
    return [] if _empties(model, lane, worker, patient) else heads


def _empties(model: Model, lane: str, worker: str, patient: bool) -> bool:
    """Whether this worker takes nothing more, to become empty for a suspect."""
    mark = (worker, model.now + model.lease_ms)
    if not patient:
        model.emptying.setdefault(lane, mark)
    if model.emptying.get(lane, ("", 0))[0] != worker:
        return False
    model.emptying[lane] = mark
    return True
