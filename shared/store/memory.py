"""The memory of the record store's server: used, allowed, and whether it evicts when that is full."""

import logging
from typing import NamedTuple

from shared.store.script import Script, ScriptCall

log = logging.getLogger("shared.store")
MEMORY = Script("memory")


class Memory(NamedTuple):
    """In bytes; a `limit` of 0 is none. `evicts` is true where records may vanish when it is full.

    `promised` is what accepted work may take more until it has ended.
    """

    used: int
    limit: int
    evicts: bool
    promised: int = 0

    @property
    def share(self) -> float:
        """What is used or promised of its limit; 0 where it has none."""
        return (self.used + self.promised) / self.limit if self.limit else 0.0


def memory() -> ScriptCall[Memory]:
    """Read the server's memory now, and what is reserved of it."""
    return ScriptCall(MEMORY, {}, lambda reply: Memory(reply[0], reply[1], bool(reply[2]), reply[3]))


class Eviction:
    """Warns once per process that the store may evict: accepted jobs would vanish without a word."""

    def __init__(self) -> None:
        self._told = False

    def see(self, found: Memory) -> None:
        """Warn, unless the same policy was warned of last."""
        if found.evicts and not self._told:
            log.warning("the record store may evict accepted jobs: set its maxmemory-policy to noeviction")
        self._told = found.evicts
