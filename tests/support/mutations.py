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


def refusals(read: Callable[[Any], object], body: Any, *beside: str, at: str = "") -> list[CallerError]:
    """What `read` says to every mutation of a valid body; any other exception is the test's failure.

    Each error names the broken field, what is in it or what it is in; or one `beside` it, which contradicts
    it then. `at` is where the caller wrote the body.
    """
    found = []
    for path, broken in _broken(body):
        try:
            read(broken)
        except CallerError as error:
            found.append((path, error))
    for path, refusal in found:
        param, place = refusal.param or "", _place(path, at)
        named = param.startswith((place, *beside)) or param == _place(path[:-1], at)
        assert named or not path, f"{place} is broken, and {param} is named: {refusal.message}"
        assert len(param) <= 200
        assert 0 < len(refusal.message) <= 500
    return [error for _, error in found]


def _place(path: tuple[Any, ...], at: str) -> str:
    for step in path:
        at += f"[{step}]" if isinstance(step, int) else f".{step}" if at else step
    return at


def _broken(body: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The place and the body that differs there."""
    for path in _paths(body):
        for value in VALUES:
            whole, parent = _copy(body, path)
            parent[path[-1]] = value
            yield path, whole
        whole, parent = _copy(body, path)
        del parent[path[-1]]
        yield path, whole
        whole, parent = _copy(body, path)
        if isinstance(parent, dict):
            parent["surprise"] = 1
            yield path[:-1], whole
    yield from (((), value) for value in VALUES)


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
