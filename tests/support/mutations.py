"""Bodies as broken clients send them: one valid body with every value replaced, dropped or joined in turn."""

import copy
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (None, 0, -1, 10**30, 1.5, True, "", "\x00", "x" * 300, [], [None], {}, {"type": []})


def mutations(body: Any) -> Iterator[Any]:
    """Every body that differs from the valid one at one place."""
    for path in _paths(body):
        for value in VALUES:
            yield _with(body, path, lambda parent, key, value=value: parent.__setitem__(key, value))
        yield _with(body, path, lambda parent, key: parent.__delitem__(key))
        yield _with(body, path, lambda parent, key: isinstance(parent, dict) and parent.update(surprise=1))
    yield from VALUES


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))


def _with(body: Any, path: tuple[Any, ...], change: Any) -> Any:
    whole = parent = copy.deepcopy(body)
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return whole
