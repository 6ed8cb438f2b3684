"""The memory of the record store's server: used, allowed, and whether it evicts when that is full."""

import heapq
import logging
import time
from collections.abc import Iterable
from typing import NamedTuple

from shared.store.keys import PREFIX
from shared.store.script import AsyncStore, Script, ScriptCall, Store, store_errors

log = logging.getLogger("shared.store")
MEMORY, HOLDING, FOLD = Script("memory"), Script("holding"), Script("fold")


class Memory(NamedTuple):
    """In bytes; a `limit` of 0 is none. `evicts` is true where records may vanish when it is full.

    `promised` is what accepted work may take more until it has ended, `set_aside` how many records could not
    be read.
    """

    used: int
    limit: int
    evicts: bool
    promised: int = 0
    set_aside: int = 0

    @property
    def share(self) -> float:
        """What is used or promised of its limit; 0 where it has none."""
        return (self.used + self.promised) / self.limit if self.limit else 0.0


def memory() -> ScriptCall[Memory]:
    """Read the server's memory now, and what is reserved of it."""

    def parse(reply: list[int]) -> Memory:
        used, limit, evicts, promised, set_aside = reply
        return Memory(used, limit, bool(evicts), promised, set_aside)

    return ScriptCall(MEMORY, {}, parse)


AT_ONCE = 500
"""Callers whose bytes are read in one step: there may be many thousands."""
MOST_NAMED = 10
HOUR_S = 3600


class Charges(NamedTuple):
    """Bytes that callers are charged, with what is reserved for them, and those who are charged most."""

    total: int
    most: tuple[tuple[str, int], ...]


def charges(store: Store) -> Charges:
    """Raises Unavailable."""
    with store_errors():
        return _charges(store.client.hscan_iter(f"{PREFIX}mem", count=AT_ONCE))


async def read_charges(store: AsyncStore) -> Charges:
    """Raises Unavailable."""
    with store_errors():
        return _charges([row async for row in store.client.hscan_iter(f"{PREFIX}mem", count=AT_ONCE)])


def _charges(rows: Iterable[tuple[str, str]]) -> Charges:
    # A walk may come by a caller twice; '' is what is reserved of all.
    held = {caller: int(charged) for caller, charged in rows if caller}
    return Charges(sum(held.values()), tuple(heapq.nlargest(MOST_NAMED, held.items(), lambda row: row[1])))


class Expiring(NamedTuple):
    """Bytes that go by themselves in this hour and in the next one, and how much of this hour is left."""

    now: int
    then: int
    left_s: float

    def frees_in_s(self, bytes: int) -> float:
        """Seconds until so much is gone, as if an hour's bytes went evenly; inf where it is not enough."""
        soon = self.now * self.left_s / HOUR_S
        if bytes <= soon:
            return bytes * HOUR_S / self.now
        if bytes - soon <= self.then:
            return self.left_s + (bytes - soon) * HOUR_S / self.then
        return float("inf")


async def read_expiring(store: AsyncStore) -> Expiring:
    """Raises Unavailable."""
    hour, passed_s = divmod(time.time(), HOUR_S)
    with store_errors():
        now, then = [
            _charges([row async for row in store.client.hscan_iter(f"{PREFIX}keep:{at}", count=AT_ONCE)])
            for at in (int(hour) + 1, int(hour) + 2)
        ]
    return Expiring(max(now.total, 0), max(then.total, 0), HOUR_S - passed_s)


def holding(caller: str) -> ScriptCall[int]:
    """How many bytes a caller is charged; deleted jobs do not count."""
    return ScriptCall(HOLDING, {"caller": caller}, int)


def fold() -> ScriptCall[bool]:
    """Take off callers' accounts what expired, a piece of it; whether there may be more."""
    return ScriptCall(FOLD, {}, bool)


class Eviction:
    """Warns once per process that the store may evict: accepted jobs would vanish without a word."""

    def __init__(self) -> None:
        self._told = False

    def see(self, found: Memory) -> None:
        """Warn, unless the same policy was warned of last."""
        if found.evicts and not self._told:
            log.warning("the record store may evict accepted jobs: set its maxmemory-policy to noeviction")
        self._told = found.evicts
