"""What workers say of themselves, and who leads the maintenance."""

import json
from typing import Any, Literal

from shared.settings import Settings
from shared.store.constants import constants
from shared.store.keys import PREFIX
from shared.store.script import Script, ScriptCall, Store, store_errors
from shared.store.views import WAITING

BEAT, LEAD = Script("beat"), Script("lead")
State = Literal["loading", "ready", "gone"]


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
        "facts": facts,
        "record": record or {},
    }
    # cjson reads {} as a list or an object alike: both are empty to `pairs`.
    return ScriptCall(BEAT, arguments, lambda reply: reply, constants=constants(settings))


def lead(store: Store, courier: str, hold_ms: int) -> bool:
    """Whether this courier leads the maintenance passes for the next `hold_ms`. Raises Unavailable."""
    return store.run(ScriptCall(LEAD, {"courier": courier, "hold_ms": hold_ms}, bool))


def backlog(store: Store) -> dict[str, int]:
    """How much work waits, by lane, without lanes that are paused or removed. Raises Unavailable."""
    with store_errors():
        lanes = sorted(store.client.smembers(f"{PREFIX}lanes"))
        states = {lane: lane_state(store, lane) for lane in lanes}
    return {
        lane: sum(state.get(count, 0) for count in WAITING)
        for lane, state in states.items()
        if state and "paused" not in state and "removed" not in state
    }


def lane_state(store: Store, lane: str) -> dict[str, Any]:
    """Counts, marks and measurements of a lane (`functions/lanes.lua`); empty where nothing is known."""
    state: dict[str, Any] = json.loads(store.client.hget(f"{PREFIX}lane:{lane}", "q") or "{}")
    return state


def forget(store: Store, lane: str, *, presence: bool) -> None:
    """Forget, before a lane's workers start anew, that a load failed, and with `presence` who was there.

    Only a caller that knows that no other worker lives may forget presence.
    """
    with store_errors():
        store.client.hdel(f"{PREFIX}lane:{lane}", "failed")
        if presence:
            store.client.delete(f"{PREFIX}ready:{lane}", f"{PREFIX}loading:{lane}")
