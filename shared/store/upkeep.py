"""Maintenance: due work goes into line, late jobs end, ends of shared runs are written; and pauses."""

from shared.settings import Settings
from shared.store.constants import constants
from shared.store.script import Script, ScriptCall

EXPIRE, DUE, PAUSE, FINISH = Script("expire"), Script("due"), Script("pause"), Script("finish")
AT_ONCE = 100
"""Jobs or runs that one round moves."""
PIECE = 40
"""Jobs ended, and targets told of it, in one call: under a millisecond of the store's thread."""


def due() -> ScriptCall[list[str]]:
    """Put work in line whose time has come; returns the lanes to nudge."""
    return ScriptCall(DUE, {"limit": AT_ONCE}, lambda reply: reply)


def expire(settings: Settings) -> ScriptCall[list[str]]:
    """End the jobs whose deadline has passed; returns their ids."""
    return ScriptCall(EXPIRE, {"limit": AT_ONCE}, lambda reply: reply, constants=constants(settings))


def finish(settings: Settings) -> ScriptCall[int]:
    """Write ends of jobs that joined a run, a piece of them; returns how many runs have more."""
    return ScriptCall(FINISH, {"budget": PIECE}, int, constants=constants(settings))


def pause(lane: str, *, paused: bool) -> ScriptCall[str]:
    """Stop the claiming of one model's work, or let it go on. What runs finishes."""
    return ScriptCall(PAUSE, {"lane": lane, "paused": paused}, str)
