"""Bodies as broken clients send them: one valid body with every value replaced, dropped or joined in turn."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from shared.errors import CallerError

VALUES: tuple[Any, ...] = (
    None,
    0,
    -1,
    10**30,
    1.5,
    True,
    "",
    "\x00",
    "x" * 300,
    [],
    [None],
    {},
    {"type": []},
)


def refusals(read: Callable[[Any], object], body: Any) -> list[CallerError]:
    """What `read` says to every mutation of a valid body; any other exception is the test's failure."""
    found = []
    for broken in mutations(body):
        try:
            read(broken)
        except CallerError as error:
            found.append(error)
    return found


def mutations(body: Any) -> Iterator[Any]:
    """Every body that differs from the valid one at one place."""
    for path in _paths(body):
        for value in VALUES:
            whole, parent = _copy(body, path)
            parent[path[-1]] = value
            yield whole
        whole, parent = _copy(body, path)
        del parent[path[-1]]
        yield whole
        whole, parent = _copy(body, path)
        if isinstance(parent, dict):
            parent["surprise"] = 1
            yield whole
    yield from VALUES


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))


def _copy(body: Any, path: tuple[Any, ...]) -> tuple[Any, Any]:
    """A copy of the body and, inside it, what holds the path's last step."""
    whole = parent = copy.deepcopy(body)
    for key in path[:-1]:
        parent = parent[key]
    return whole, parent
