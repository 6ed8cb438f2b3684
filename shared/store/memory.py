"""The memory of the record store's server: used, allowed, and whether it evicts when that is full."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from shared.store.script import Script, ScriptCall

log = logging.getLogger("shared.store")
MEMORY = Script("memory")
AT_ITS_END = 6 * 2**10
"""Bytes by which a run's records grow until it has ended, with an answer of a hundred tokens."""


class Memory(NamedTuple):
    """In bytes; a `limit` of 0 is none. `evicts` is true where records may vanish when it is full.

    `promised` is what accepted work will take more until it has ended.
    """

    used: int
    limit: int
    evicts: bool
    promised: int = 0

    @property
    def share(self) -> float:
        """What is used or promised of its limit; 0 where it has none."""
        return (self.used + self.promised) / self.limit if self.limit else 0.0


def read(reply: Sequence[int]) -> Memory:
    """From the scripts' reply."""
    used, limit, evicts, *waiting = reply
    return Memory(used, limit, bool(evicts), sum(waiting) * AT_ITS_END)


def memory(lanes: Sequence[str] = ()) -> ScriptCall[Memory]:
    """Read the server's memory now, and what waits in these lanes."""
    return ScriptCall(MEMORY, {"lanes": list(lanes)}, read)


class Eviction:
    """Warns once per process that the store may evict: accepted jobs would vanish without a word."""

    def __init__(self) -> None:
        self._told = False

    def see(self, found: Memory) -> None:
        """Warn, unless the same policy was warned of last."""
        if found.evicts and not self._told:
            log.warning("the record store may evict accepted jobs: set its maxmemory-policy to noeviction")
        self._told = found.evicts
