"""The audit's reads and transitions: a walk over every key of ours, a few at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shared.settings import Settings
from shared.store.keys import PREFIX
from shared.store.lifetimes import lifetimes
from shared.store.script import Script, ScriptCall, Store, reaching
from shared.store.views import pairs

AUDIT, DOOM, BAD = Script("audit"), Script("doom"), Script("bad")


class Audited(NamedTuple):
    """How many of each finding were mended, and how keys begin that this version does not know."""

    mended: Mapping[str, int]
    strange: tuple[str, ...] = ()


def scan(store: Store, cursor: int, count: int) -> tuple[int, list[str]]:
    """The next cursor (0 = once around) and the names of about `count` keys. Raises Unavailable."""
    with reaching():
        following, keys = store.client.scan(cursor, match=f"{PREFIX}*", count=count)
    return int(following), [key.removeprefix(PREFIX) for key in keys]


def audit(settings: Settings, names: Sequence[str]) -> ScriptCall[Audited]:
    """Mend at these keys what no history should leave behind."""
    arguments = {
        "names": list(names),
        "lease_ms": round(settings.queue.lease_s * 1000),
        "wait_ms": settings.queue.start_by_s * 1000,
        **lifetimes(settings),
    }
    return ScriptCall(AUDIT, arguments, _audited)


def _audited(reply: list[Any]) -> Audited:
    findings, strange = reply
    mended = {what: int(n) for what, n in pairs(findings).items()}
    return Audited(mended, tuple(PREFIX + beginning for beginning in sorted(strange)))


def doom(digests: Sequence[str]) -> ScriptCall[list[str]]:
    """Which of these pictures nobody needs: delete them, then say so (`jobs.deleted`)."""
    return ScriptCall(DOOM, {"digests": list(digests)}, lambda reply: reply)


def set_aside() -> ScriptCall[dict[str, str]]:
    """The records that could not be read, with the reason of each."""
    return ScriptCall(BAD, {}, pairs)
