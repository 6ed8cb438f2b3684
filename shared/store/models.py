"""Which models are served besides the models file's rows; how they are added, drained and removed."""

from dataclasses import dataclass
from typing import Any, Literal

from shared.result import JobError
from shared.settings import Settings
from shared.store.lifetimes import lifetimes
from shared.store.script import Script, ScriptCall
from shared.store.views import pairs

MODELS, ADD, DRAIN = Script("models"), Script("model_add"), Script("drain")
REMOVE, SWEEP = Script("model_remove"), Script("model_sweep")
AT_ONCE = 10
"""Pieces of work that one step ends."""
REMOVED = JobError(code="model_removed", message="The model was removed while this job waited for it.")


@dataclass(frozen=True)
class Registered:
    """`rows` (JSON, by lane) of models that no file names.

    `removed` are the lanes of removed models. `removing` has, by lane, how often a model was removed whose
    work from before that may still wait, whether it is served again or not.
    """

    rows: dict[str, str]
    removed: frozenset[str]
    removing: dict[str, str]


@dataclass(frozen=True)
class Swept:
    """How many one step ended, and where the next begins; "0" where there is none."""

    ended: int
    cursor: str


def registered() -> ScriptCall[Registered]:
    def parse(reply: list[Any]) -> Registered:
        rows, removed, removing = reply
        return Registered(pairs(rows), frozenset(removed), pairs(removing))

    return ScriptCall(MODELS, {}, parse)


def add(lane: str, row: str | None) -> ScriptCall[Literal["added", "unchanged", "conflict"]]:
    """Serve a model that was removed, or that no file names: with its `row` (JSON)."""
    return ScriptCall(ADD, {"lane": lane, "row": row}, lambda reply: reply)


def drain(lane: str) -> ScriptCall[str]:
    """Take no new jobs; `upkeep.pause(paused=False)` undoes it."""
    return ScriptCall(DRAIN, {"lane": lane}, str)


def remove(lane: str) -> ScriptCall[str]:
    """Take and begin nothing more; what waits ends soon (`end_waiting`, `end_earlier`)."""
    return ScriptCall(REMOVE, {"lane": lane}, str)


def end_waiting(settings: Settings, lane: str) -> ScriptCall[Swept]:
    """End the first in line for a model that is removed."""
    return _sweep(settings, lane, None)


def places(lane: str) -> tuple[str, ...]:
    """The keys where a model's work waits, in the order in which it moves through them."""
    return ("schedule", "queue:intake", f"queue:{lane}")


def end_earlier(settings: Settings, lane: str, key: str, cursor: str, generation: str) -> ScriptCall[Swept]:
    """Go on with a walk over `key`, one of the model's `places`, to end work from before the removal.

    `generation` is how often the model had been removed when the walk began.
    """
    return _sweep(settings, lane, {"key": key, "cursor": cursor, "generation": generation})


def _sweep(settings: Settings, lane: str, walk: dict[str, str] | None) -> ScriptCall[Swept]:
    arguments = {
        "lane": lane,
        "limit": AT_ONCE,
        "failure": REMOVED.model_dump_json(),
        "walk": walk,
        **lifetimes(settings),
    }
    return ScriptCall(SWEEP, arguments, lambda reply: Swept(int(reply[0]), str(reply[1])))
