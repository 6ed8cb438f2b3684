"""The audit's reads and transitions: a walk over every key of ours, a few at a time."""

from collections.abc import Sequence
from typing import Any

from shared.settings import Settings
from shared.store.constants import constants
from shared.store.keys import PREFIX
from shared.store.records import read
from shared.store.script import Script, ScriptCall, Store, store_errors
from shared.store.views import pairs

AUDIT, FORGET = Script("audit"), Script("forget")
MOST_BAD = 1000


def scan(store: Store, cursor: int, count: int) -> tuple[int, list[str]]:
    """The next cursor (0 = once around) and the names of about `count` keys. Raises Unavailable."""
    with store_errors():
        following, keys = store.client.scan(cursor, match=f"{PREFIX}*", count=count)
    return int(following), [key.removeprefix(PREFIX) for key in keys]


def audit(settings: Settings, names: Sequence[str]) -> ScriptCall[dict[str, int]]:
    """Mend at these keys what no history should leave behind; returns how many of each finding."""

    def parse(reply: list[Any]) -> dict[str, int]:
        return {what: int(n) for what, n in pairs(reply).items()}

    return ScriptCall(AUDIT, {"names": list(names)}, parse, constants=constants(settings))


def set_aside() -> ScriptCall[dict[str, str]]:
    """The records that could not be read, with the reason of each; any `MOST_BAD` of them."""
    command = ("HRANDFIELD", "bad", MOST_BAD, "WITHVALUES")
    return read(command, lambda reply: pairs(reply or []))


def forget(id: str) -> ScriptCall[bool]:
    """Forget a record that was set aside; whether there was one."""
    return ScriptCall(FORGET, {"id": id}, bool)
