"""One read of all lines and workers."""

from collections.abc import Sequence
from typing import Any

from shared.fleet import Fleet, Worker
from shared.settings import Settings
from shared.store import views
from shared.store.constants import constants
from shared.store.script import Script, ScriptCall

FLEET = Script("fleet")
CLASSES = ("interactive", "normal", "batch")


def fleet(settings: Settings, lanes: Sequence[str]) -> ScriptCall[tuple[Fleet, ...]]:
    """What waits and who works, lane by lane in the order given."""
    arguments = {"lanes": list(lanes)}
    return ScriptCall(
        FLEET, arguments, lambda reply: tuple(map(_fleet, reply)), constants=constants(settings)
    )


def _fleet(row: list[Any]) -> Fleet:
    lane, counts, oldest, workers, drained = row
    waiting = dict(zip(CLASSES, counts, strict=True))
    known = tuple(_worker(*worker) for worker in workers)
    return Fleet(views.lane(lane), waiting, oldest or None, known, drained=bool(drained))


def _worker(name: str, state: str, flat: list[str]) -> Worker:
    said = views.pairs(flat)
    return Worker(
        name,
        state,
        host=said.get("host", ""),
        pid=int(said.get("pid", 0)),
        since=float(said.get("since", 0)),
        rows=int(said.get("rows", 0)),
        busy=int(said.get("busy", 0)),
        memory=int(said.get("memory", 0)),
        tokens_per_s=float(said.get("tokens_per_s", 0)),
        fingerprint=said.get("fingerprint", ""),
    )
