"""Maintenance: who leads it, due work goes into line, late jobs end, followers end; bad records."""

from shared.settings import Settings
from shared.store.constants import constants
from shared.store.records import read
from shared.store.script import ScriptCall
from shared.store.views import pairs

AT_ONCE = 12
"""Jobs that one call moves: under ten milliseconds of the store's thread."""


def lead(courier: str, hold_ms: int) -> ScriptCall[bool]:
    """Whether this courier leads the maintenance passes for the next `hold_ms`."""
    return ScriptCall("lead", {"courier": courier, "hold_ms": hold_ms}, bool)


def due() -> ScriptCall[list[str]]:
    """Put work in line whose time has come; returns the lanes to nudge."""
    return ScriptCall("due", {"limit": AT_ONCE}, lambda reply: reply)


def expire(settings: Settings) -> ScriptCall[tuple[list[str], int]]:
    """End jobs whose deadline has passed, a piece of them; returns their ids, and how many have passed."""
    return ScriptCall("expire", {"limit": AT_ONCE}, tuple, constants=constants(settings))


def finish(settings: Settings) -> ScriptCall[int]:
    """Write ends of followers, a piece of them; returns how many leaders have more."""
    return ScriptCall("finish", {}, int, constants=constants(settings))


def bad_records() -> ScriptCall[dict[str, str]]:
    """The records that could not be read, with the reason of each; the store keeps a thousand."""
    return read(("HGETALL", "bad"), lambda reply: pairs(reply or []))


def forget(id: str) -> ScriptCall[bool]:
    """Name a bad record no longer; whether it was named."""
    return ScriptCall("forget", {"id": id}, bool)
