"""What workers say of themselves, and who leads the maintenance."""

from typing import Literal

from shared.settings import Settings
from shared.store.keys import PREFIX
from shared.store.script import Call, Script, Store, reaching

BEAT, LEAD = Script("beat"), Script("lead")
State = Literal["loading", "ready", "gone"]


def beat(
    settings: Settings, *, worker: str, lane: str, state: State, fingerprint: str = "", facts: dict[str, str]
) -> Call[str]:
    """Say that a worker lives; `facts` replace the lane's (an empty value forgets one)."""
    arguments = {
        "worker": worker,
        "lane": lane,
        "state": state,
        "print": fingerprint,
        "ttl_s": settings.queue.worker_ttl_s,
        "facts": facts,
    }
    # cjson reads {} as a list or an object alike: both are empty to `pairs`.
    return Call(BEAT, arguments, str)


def lead(store: Store, courier: str, hold_ms: int) -> bool:
    """Whether this courier leads the maintenance passes for the next `hold_ms`. Raises Unavailable."""
    return store.run(Call(LEAD, {"courier": courier, "hold_ms": hold_ms}, bool))


def uptime_s(store: Store) -> int:
    """Seconds since the record store started. Raises Unavailable."""
    with reaching():
        return int(store.client.info("server")["uptime_in_seconds"])


def backlog(store: Store) -> dict[str, int]:
    """How much waits, by lane. Raises Unavailable."""
    with reaching():
        lanes = sorted(store.client.smembers(f"{PREFIX}lanes"))
        return {lane: int(store.client.zcard(f"{PREFIX}queue:{lane}")) for lane in lanes}


def forget(store: Store, lane: str, *, presence: bool) -> None:
    """Before a lane's workers are started anew: forget that a load failed, and with `presence` who was there.

    Only whoever knows that no other worker lives may forget presence.
    """
    with reaching():
        store.client.hdel(f"{PREFIX}lane:{lane}", "failed", "failed_ms")
        if presence:
            store.client.delete(f"{PREFIX}ready:{lane}", f"{PREFIX}loading:{lane}")
