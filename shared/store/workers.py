"""What workers say of themselves, and who leads the maintenance."""

from typing import Any, Literal

from shared.settings import Settings
from shared.store.keys import PREFIX
from shared.store.script import Script, ScriptCall, Store, reaching

BEAT, LEAD = Script("beat"), Script("lead")
State = Literal["loading", "ready", "gone"]


GAP_ROUNDS = 3
"""After this many rounds of maintenance without a write, workers are taken to have been cut off too."""
GRACE_ROUNDS = 4
"""Renewals that workers get time for after such a gap."""


def watching(settings: Settings) -> dict[str, Any]:
    """The arguments that `Upkeep.watch` reads."""
    return {
        "gap_ms": (GAP_ROUNDS * settings.queue.rescue_s + 1) * 1000,
        "grace_ms": round(GRACE_ROUNDS * settings.queue.renew_s * 1000),
    }


def beat(
    settings: Settings,
    *,
    worker: str,
    lane: str,
    state: State,
    fingerprint: str = "",
    row: str | None = None,
    facts: dict[str, str],
    record: dict[str, str] | None = None,
) -> ScriptCall[Literal["OK", "outdated", "forgotten"]]:
    """Say that a worker lives; `facts` replace the lane's (an empty value forgets one), `record` its own.

    A load is told by `load_passed_ms` and `failed`: the store's clock dates its beginning.
    `outdated`: the worker's model was removed, and added again with another row. `forgotten`: the store lost
    what a ready worker had said of its lane.
    """
    arguments = {
        "worker": worker,
        "lane": lane,
        "state": state,
        "print": fingerprint,
        "row": row,
        "worker_ttl_s": settings.queue.worker_ttl_s,
        "lease_ms": round(settings.queue.lease_s * 1000),
        "facts": facts,
        "record": record or {},
        **watching(settings),
    }
    # cjson reads {} as a list or an object alike: both are empty to `pairs`.
    return ScriptCall(BEAT, arguments, lambda reply: reply)


def lead(store: Store, courier: str, hold_ms: int) -> bool:
    """Whether this courier leads the maintenance passes for the next `hold_ms`. Raises Unavailable."""
    return store.run(ScriptCall(LEAD, {"courier": courier, "hold_ms": hold_ms}, bool))


def backlog(store: Store) -> dict[str, int]:
    """How much work waits, by lane, without lanes that are paused or removed. Raises Unavailable."""
    with reaching():
        lanes = sorted(store.client.sdiff(*(f"{PREFIX}{name}" for name in ("lanes", "paused", "removed"))))
        return {lane: int(store.client.zcard(f"{PREFIX}queue:{lane}")) for lane in lanes}


def forget(store: Store, lane: str, *, presence: bool) -> None:
    """Forget, before a lane's workers start anew, that a load failed, and with `presence` who was there.

    Only a caller that knows that no other worker lives may forget presence.
    """
    with reaching():
        store.client.hdel(f"{PREFIX}lane:{lane}", "failed")
        if presence:
            store.client.delete(f"{PREFIX}ready:{lane}", f"{PREFIX}loading:{lane}")
