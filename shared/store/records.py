"""Plain records: files, batches, API keys and endpoints, each a hash by the names of its class.

They stand in lists of their owners (`functions/records.lua`).
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from shared.store.script import Script, ScriptCall
from shared.store.views import pairs

RECORD, RECORDS = Script("record"), Script("records")
CREATE, ROTATE = Script("record_create"), Script("secret_rotate")
T = TypeVar("T")


class RecordKind(Generic[T]):
    """One kind: the name of its lists, and how a record is read from its fields."""

    def __init__(self, name: str, read: Callable[[dict[str, Any]], T]) -> None:
        self.name = name
        self._read = read

    def parse(self, reply: list[Any]) -> T:
        return self._read(pairs(reply))

    def known(self, reply: list[Any] | None) -> T | None:
        """The same, None where there is no such record."""
        return self.parse(reply) if reply else None

    def create(
        self, owner: str, id: str, secret: str, fields: list[Any], **terms: Any
    ) -> ScriptCall[T | None]:
        """Begin a record that has a secret; None where the owner has as many as may be."""
        which = {"kind": self.name, "owner": owner, "id": id, "secret": secret}
        fields = [*fields, "secret", secret]
        return ScriptCall(CREATE, {**which, **terms, "fields": fields}, self.known)

    def record(self, owner: str, id: str) -> ScriptCall[T | None]:
        """One record; None where the owner has none of this id."""
        return ScriptCall(RECORD, {"kind": self.name, "owner": owner, "id": id}, self.known)

    def page(
        self, owner: str, *, after: str | None, limit: int, oldest_first: bool = False
    ) -> ScriptCall[list[T] | None]:
        """A page by creation, newest first; None where `after` is none of the owner's."""
        order = {"after": after, "limit": limit, "oldest_first": oldest_first}

        def parse(reply: list[Any] | None) -> list[T] | None:
            return None if reply is None else [self.parse(row) for row in reply]

        return ScriptCall(RECORDS, {"kind": self.name, "owner": owner, **order}, parse)

    def rotate(self, owner: str, id: str, secret: str, grace_s: int, most: int) -> ScriptCall[T | None]:
        """Give a record another secret; the former one goes on for `grace_s`.

        Earlier ones go on no longer than they had; of more than `most` those that end soonest go. None where
        the owner has no such record.
        """
        which = {"kind": self.name, "owner": owner, "id": id}
        return ScriptCall(ROTATE, {**which, "secret": secret, "grace_s": grace_s, "most": most}, self.known)


def flat(**fields: Any) -> list[Any]:
    """[name, value, name, value, …] of those fields that have a value."""
    return [part for name, value in fields.items() if value is not None for part in (name, value)]
