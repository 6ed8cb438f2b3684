"""What workers report of themselves, and a read of all lines with their workers."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import TypeAdapter

from shared.fleet import Fleet, Worker
from shared.settings import Settings
from shared.store import views
from shared.store.constants import constants
from shared.store.keys import PREFIX
from shared.store.script import ScriptCall, Store, store_errors

State = Literal["loading", "ready", "gone"]
CLASSES = ("interactive", "normal", "batch")
_WORKER = TypeAdapter(Worker)


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
    return ScriptCall("beat", arguments, lambda reply: reply, constants=constants(settings))


def place(
    settings: Settings, *, lane: str, worker: str, known: int, record: dict[str, str]
) -> ScriptCall[Literal["OK", "taken"]]:
    """Say that a worker is about to load; `taken` where more than the `known` others are ready or load.

    Then it counts as loading for `worker_ttl_s`, until it beats itself or is said to be gone.
    """
    arguments = {"lane": lane, "worker": worker, "known": known, "record": record}
    return ScriptCall("place", arguments, lambda reply: reply, constants=constants(settings))


def node_beat(
    settings: Settings, *, node: str, lanes: Mapping[str, dict[str, str]], at_ms: int = 0, gone: bool = False
) -> ScriptCall[None]:
    """Say that a node lives, which `lanes` it loads when they are asked for, and facts of them.

    With each beat `load_in_ms`, how long until it would begin to load, as of what waited at `at_ms`, and
    `load_turn_ms`, by how much that delays the next one; once, after the lane's model was `unloaded`, why;
    `unfit` where there is no room for it. A node that ends says so with `gone` and the lanes that it named.
    """
    arguments = {"node": node, "lanes": lanes, "at_ms": at_ms, "gone": gone or None}
    return ScriptCall("node_beat", arguments, lambda reply: reply, constants=constants(settings))


def forget(store: Store, lane: str, *, presence: bool) -> None:
    """Forget, before a lane's workers start anew, that a load failed, and with `presence` who was there.

    Only a caller that knows that no other worker or node lives may forget presence.
    """
    with store_errors():
        store.client.hdel(f"{PREFIX}lane:{lane}", "failed")
        if presence:
            store.client.delete(*(f"{PREFIX}{kind}:{lane}" for kind in ("ready", "loading", "cold")))


def fleet(settings: Settings, lanes: Sequence[str]) -> ScriptCall[tuple[Fleet, ...]]:
    """What waits and who works, lane by lane in the order given."""
    arguments = {"lanes": list(lanes)}
    return ScriptCall(
        "fleet", arguments, lambda reply: tuple(map(_fleet, reply)), constants=constants(settings)
    )


def _fleet(row: list[Any]) -> Fleet:
    lane, counts, oldest, rows, drained, given_back, wanted = row
    waiting = dict(zip(CLASSES, counts, strict=True))
    workers = tuple(_worker(*row) for row in rows)
    return Fleet(
        views.lane(lane),
        waiting,
        oldest or None,
        workers,
        drained=bool(drained),
        given_back=given_back,
        wanted_ms=wanted or None,
    )


def _worker(name: str, state: str, record: list[str]) -> Worker:
    return _WORKER.validate_python(views.pairs(record) | {"id": name, "state": state})
