"""The memory of the record store's server: used, allowed, and whether it evicts when that is full."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from shared.store.script import Script, ScriptCall

log = logging.getLogger(__name__)
MEMORY = Script("memory")


class Memory(NamedTuple):
    """In bytes; a `limit` of 0 is none. `evicts` is true where records may vanish when it is full."""

    used: int
    limit: int
    evicts: bool

    @property
    def share(self) -> float:
        """What is used of its limit; 0 where it has none."""
        return self.used / self.limit if self.limit else 0.0


def read(reply: Sequence[int]) -> Memory:
    """From the scripts' reply."""
    used, limit, evicts = reply
    return Memory(used, limit, bool(evicts))


def memory() -> ScriptCall[Memory]:
    """Read the server's memory now."""
    return ScriptCall(MEMORY, {}, read)


class Eviction:
    """Warns once per process that the store may evict: accepted jobs would vanish without a word."""

    def __init__(self) -> None:
        self._told = False

    def see(self, found: Memory) -> None:
        """Warn, unless the same policy was warned of last."""
        if found.evicts and not self._told:
            log.warning("the record store may evict accepted jobs: set its maxmemory-policy to noeviction")
        self._told = found.evicts
