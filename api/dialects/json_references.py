"""Finds references of a JSON Schema that lead round in a ring.

A reference may lead to another, and so on. A ring of references alone describes no value: an answer that
began one could not go on.
"""

from typing import Any

from shared.json_pointer import found


class References:
    """The references of one schema, which need not have been checked."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        # Schemas known to lead to an end, by identity: the schema is not changed meanwhile.
        self._ending: set[int] = set()

    def in_ring(self, schema: dict[str, Any]) -> bool:
        """Whether following the references from this schema never ends."""
        here: Any = schema
        passed: set[int] = set()
        while isinstance(here, dict) and id(here) not in self._ending:
            if id(here) in passed:
                return True
            passed.add(id(here))
            here = self._next(here)
        self._ending |= passed
        return False

    def _next(self, schema: dict[str, Any]) -> Any:
        """The schema that stands for this one: what it refers to, or its only part."""
        if isinstance(place := schema.get("$ref"), str):
            return found(self._root, place)
        parts = (schema.get(name) for name in ("allOf", "anyOf", "oneOf"))
        return next((part[0] for part in parts if isinstance(part, list) and len(part) == 1), None)
