"""Which models are served besides the models file's rows, and what operators do with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.settings import Settings
from shared.store.constants import constants
from shared.store.keys import PREFIX
from shared.store.script import ScriptCall, Store, store_errors
from shared.store.views import pairs

Change = Literal["pause", "resume", "drain", "unload"]
MARKS = {
    "pause": {"paused": True},
    "resume": {"paused": False, "draining": False},
    "drain": {"draining": True},
}
AT_ONCE = 10
"""Jobs that one step looks at."""


@dataclass(frozen=True)
class Registrations:
    """`rows` (JSON, by lane) of models that no file names.

    `removed` are the lanes of removed models. `removing` has, by lane, how often a model was removed whose
    work from before that may still wait, whether it is served again or not.
    """

    rows: dict[str, str]
    removed: frozenset[str]
    removing: dict[str, str]


def registrations() -> ScriptCall[Registrations]:
    def parse(reply: list[Any]) -> Registrations:
        rows, removed, removing = reply
        return Registrations(pairs(rows), frozenset(removed), pairs(removing))

    return ScriptCall("models", {}, parse)


def add(lane: str, row: str | None) -> ScriptCall[Literal["added", "unchanged", "conflict"]]:
    """Serve a model that was removed, or that no file names: with its `row` (JSON)."""
    return ScriptCall("model_add", {"lane": lane, "row": row}, lambda reply: reply)


def change(lane: str, change: Change, *, operator: str | None = None) -> ScriptCall[None]:
    """Pause a model: none of its work is claimed. Drain it: it takes no new jobs. Resume undoes both.

    What runs finishes. `unload`: the nodes unload the model until a request asks for it.
    """
    arguments = {"lane": lane, "operator": operator}
    if change == "unload":
        return ScriptCall("unload", arguments, lambda _: None)
    return ScriptCall("mark", arguments | {"marks": MARKS[change]}, lambda _: None)


def remove(lane: str, *, operator: str | None = None) -> ScriptCall[None]:
    """Take and begin nothing more; what waits ends soon (`sweep`)."""
    return ScriptCall("model_remove", {"lane": lane, "operator": operator}, lambda _: None)


def open_jobs(store: Store, cursor: int) -> tuple[int, list[list[str]]]:
    """The next cursor (0 = once around) and some jobs that have not ended, at least one piece of them: of a
    short index the store gives all at once. Raises Unavailable.
    """
    with store_errors():
        following, found = store.client.zscan(f"{PREFIX}deadlines", cursor, count=AT_ONCE)
    jobs = [job for job, _ in found]
    return int(following), [jobs[at : at + AT_ONCE] for at in range(0, max(len(jobs), 1), AT_ONCE)]


def sweep(settings: Settings, lane: str, jobs: Sequence[str], done: str | None = None) -> ScriptCall[int]:
    """End those of some jobs that wait since before their model was removed; returns how many.

    `done` is how often the model had been removed when a walk began that is over now.
    """
    arguments = {"lane": lane, "jobs": list(jobs), "done": done}
    return ScriptCall("model_sweep", arguments, int, constants=constants(settings))
