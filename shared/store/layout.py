"""Whose records a store holds: of which layout, and of which store. Each new connection asks for the first.

`sightline` is a hash that every release finds, whatever its prefix: `layout` is the number in the prefix of
the keys, `id` is random. Both are written once (`identity`). Layouts before the seventh had no such hash.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from shared.errors import Unavailable
from shared.store.keys import LAYOUT

KEY = "sightline"
FORMER = range(LAYOUT - 1, 1, -1)
QUESTIONS = (("HGET", KEY, "layout"), ("DBSIZE",), *(("EXISTS", f"sl{number}:lanes") for number in FORMER))
"""About the records' layout, the number of keys, and records of layouts that may have no such hash."""
EARLIER = (
    "let the release that wrote them end its jobs, then delete them, or name an empty database or data folder"
)
LATER = "start the release that wrote them"
RETRY_AFTER_S = 30


class LayoutError(Unavailable, RedisError):
    """The records are of another layout: nothing is read, written or deleted."""

    def __init__(self, layout: int, keys: int) -> None:
        self.finding = (
            f"it holds records of layout {layout} (sl{layout}:…, keys in its database: {keys}), "
            f"and this version reads layout {LAYOUT}"
        )
        self.advice = LATER if layout > LAYOUT else EARLIER
        message = f"The record store cannot be used: {self.finding}; {self.advice}."
        super().__init__("store_unavailable", message, retry_after=RETRY_AFTER_S)


class RightsError(Unavailable, RedisError):
    """Our user may not ask; `why` in the server's words."""

    def __init__(self, why: str) -> None:
        self.why = why
        message = (
            f"The record store's user may not do what we need ({why}; docs/transport.md lists the rights)."
        )
        super().__init__("store_unavailable", message, retry_after=RETRY_AFTER_S)


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except NoPermissionError as error:
        raise RightsError(str(error)) from None


def check_layout(replies: Sequence[Any]) -> None:
    """Read the replies to QUESTIONS. Raises LayoutError."""
    named, keys, *former = replies
    there = (number for number, found in zip(FORMER, former, strict=False) if found)
    layout = int(named or next(there, LAYOUT))
    if layout != LAYOUT:
        raise LayoutError(layout, keys)


def check_connection(connection: Any) -> None:
    """What redis-py runs on each connection that it made. Raises LayoutError, RightsError, RedisError."""
    # A check of the connection's health would make it anew, and end here again.
    connection.on_connect_check_health(check_health=False)
    connection.send_packed_command(connection.pack_commands(QUESTIONS), check_health=False)
    with _asking():
        check_layout([connection.read_response() for _ in QUESTIONS])


async def check_async_connection(connection: Any) -> None:
    """As `check_connection`."""
    await connection.on_connect_check_health(check_health=False)
    await connection.send_packed_command(connection.pack_commands(QUESTIONS), check_health=False)
    with _asking():
        check_layout([await connection.read_response() for _ in QUESTIONS])
