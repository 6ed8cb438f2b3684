"""Plain records: files, batches and API keys, each a hash by the names of its class.

They stand in lists of their owners (`functions/records.lua`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from shared.store.script import ScriptCall
from shared.store.views import pairs

Command = tuple[Any, ...]
"""A command on a record: its name, the end of the key behind the record's, its further arguments."""
NOW = True
"""In a command: the store's time, Unix ms."""
T = TypeVar("T")
R = TypeVar("R")


class RecordKind(Generic[T]):
    """One kind: the name of its lists, and how a record is read from its fields."""

    def __init__(self, name: str, read: Callable[[dict[str, Any]], T]) -> None:
        self.name = name
        self._read = read

    def parse(self, reply: list[Any]) -> T:
        return self._read(pairs(reply))

    def _readable(self, row: list[Any]) -> T | None:
        """A record that cannot be read is left out of a page."""
        try:
            return self.parse(row)
        except (ValueError, KeyError):
            return None

    def known(self, reply: list[Any] | None) -> T | None:
        """The same, None where there is no such record."""
        return self.parse(reply) if reply else None

    def record(self, owner: str, id: str) -> ScriptCall[T | None]:
        """One record; None where the owner has none of this id."""
        return self._call("record_read", owner, lambda replies: self.known(replies and replies[0]), id=id)

    def read_all(
        self, owner: str, id: str, commands: Sequence[Command], parse: Callable[[Any], R]
    ) -> ScriptCall[R]:
        """The replies to commands, None where the owner has none of this id, as `parse` reads them."""
        return self._call("record_read", owner, parse, id=id, commands=commands)

    def page(
        self, owner: str, *, after: str | None, limit: int, oldest_first: bool = False
    ) -> ScriptCall[list[T] | None]:
        """A page by creation, newest first; None where `after` is none of the owner's."""

        def parse(reply: list[Any] | None) -> list[T] | None:
            rows = map(self._readable, reply or ())
            return None if reply is None else [row for row in rows if row is not None]

        return self._call("records", owner, parse, after=after, limit=limit, oldest_first=oldest_first)

    def _call(
        self, function: str, owner: str, parse: Callable[[Any], R], /, **arguments: Any
    ) -> ScriptCall[R]:
        return ScriptCall(function, {"kind": self.name, "owner": owner, **arguments}, parse)


def read(command: Command, parse: Callable[[Any], R]) -> ScriptCall[R]:
    """The reply to a command on any key, given without its prefix, as `parse` reads it."""
    return ScriptCall("record_read", {"commands": [command]}, lambda replies: parse(replies and replies[0]))


def flat(**fields: Any) -> list[Any]:
    """[name, value, name, value, …] of those fields that have a value."""
    return [part for name, value in fields.items() if value is not None for part in (name, value)]
