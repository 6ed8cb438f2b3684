"""Reads the query that filters a list of jobs."""

from collections.abc import Callable, Sequence
from typing import Any, get_args

from api.dialects.metadata import MAX_PAIRS
from api.dialects.refusals import invalid
from api.dialects.times import to_ms
from shared.job import Priority, Status
from shared.listing import Filter


def from_query(one: Callable[[str], str | None], several: Callable[[str], Sequence[str]]) -> Filter:
    """`one` and `several` read the query's values by name. Raises CallerError naming the parameter."""
    return Filter(
        status=_of("status", one("status"), Status),
        model=one("model"),
        priority=_of("priority", one("priority"), Priority),
        since=_moment("created_after", one("created_after")),
        until=_moment("created_before", one("created_before")),
        metadata=_pairs(several("metadata")),
    )


def _of(name: str, value: str | None, words: Any) -> Any:
    if value is None or value in get_args(words):
        return value
    raise invalid(name, f"should be one of {', '.join(get_args(words))}")


def _moment(name: str, text: str | None) -> int | None:
    """A `+` in a query means a space, and the offset of a time may begin with one."""
    if text is None:
        return None
    try:
        return to_ms(name, float(text))
    except ValueError:
        return to_ms(name, text.replace(" ", "+"))


def _pairs(said: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in said]
    if len(pairs) > MAX_PAIRS or not all(name and equals for name, equals, _ in pairs):
        raise invalid("metadata", f"should be up to {MAX_PAIRS} times a key, `=` and a value")
    found = {name: value for name, _, value in pairs}
    if len(found) < len({(name, value) for name, _, value in pairs}):
        raise invalid("metadata", "names a key twice")
    return found
