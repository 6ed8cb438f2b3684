"""Where the references of a JSON Schema lead.

Each may lead to another, and so on; those that come back without a word about the value describe none, and an
answer that began one could not go on.
"""

from typing import Any

from shared.json_pointer import found


class References:
    """Of one schema, which need not have been looked at."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        # Known to end. By identity: the schema is not changed meanwhile.
        self._ending: set[int] = set()

    def in_ring(self, schema: dict[str, Any]) -> bool:
        """Whether to follow what stands in this schema's place never ends."""
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
        """What a value of the schema has to be as well: what it refers to, or its only part."""
        if isinstance(place := schema.get("$ref"), str):
            return found(self._root, place)
        parts = (schema.get(name) for name in ("allOf", "anyOf", "oneOf"))
        return next((part[0] for part in parts if isinstance(part, list) and len(part) == 1), None)
