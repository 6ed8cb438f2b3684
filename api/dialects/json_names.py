"""`propertyNames` that lists the names, as generators write a map whose keys are an enum: each is a property.

zod's `record(z.enum(…), …)` and Pydantic's `dict[Literal[…], …]` do so.
"""

import json
import re
from typing import Any

from shared.json_pointer import found

MAX_NAME = 256
MAX_PROPERTIES = 1000
# Each property has a copy of what the map says of all its values. The most text of one map's copies.
MAX_COPIES = 2**16
NOTES = ("title", "description")
ANY_TEXT: tuple[dict[str, Any], ...] = ({}, {"type": "string"})
"""What `propertyNames` may say that asks for nothing: every name is a text."""
_INTO_A_MAP = re.compile(r'"\$ref": "[^"]*/(?:additionalProperties|propertyNames)')


class Names:
    """The names that the maps of one schema list."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        # What a reference leads to stays where it is.
        self._fixed = "propertyNames" in (text := json.dumps(schema)) and bool(_INTO_A_MAP.search(text))

    def of(self, node: dict[str, Any]) -> list[str]:
        """A map's names if they can be spelled out as properties, else none."""
        values = self._values(node.get("propertyNames"))
        if not 0 < len(values) <= MAX_PROPERTIES or self._fixed or "patternProperties" in node:
            return []
        if not all(isinstance(value, str) and len(value) <= MAX_NAME for value in values):
            return []
        own, others = node.get("properties", {}), node.get("additionalProperties")
        known = isinstance(own, dict) and own.keys() <= {*values} and len({*values}) == len(values)
        # Copies of copies would be as many as the names of both, multiplied.
        fits = known and not _has_map(others) and len(values) * len(json.dumps(others)) <= MAX_COPIES
        return values if fits else []

    def spell_out(self, node: dict[str, Any]) -> None:
        """Say the same in words that answers are held to."""
        if names := self.of(node):
            own, others = node.get("properties", {}), node.get("additionalProperties", True)
            node["properties"] = {name: own.get(name, others) for name in names}
            node["additionalProperties"] = False
            del node["propertyNames"]

    def _values(self, names: Any) -> list[Any]:
        if isinstance(names, dict) and names.keys() == {"$ref"} and isinstance(names["$ref"], str):
            names = found(self._schema, names["$ref"])
        if not isinstance(names, dict) or names.get("type", "string") != "string":
            return []
        if names.keys() <= {"type", "const", *NOTES}:
            return [names["const"]] if "const" in names else []
        listed = names.get("enum") if names.keys() <= {"type", "enum", *NOTES} else None
        return listed if isinstance(listed, list) else []


def _has_map(value: Any) -> bool:
    """Whether some map inside it names its keys, or may."""
    left = [value]
    while left:
        here = left.pop()
        if isinstance(here, dict):
            if here.get("propertyNames", True) is not True and here["propertyNames"] not in ANY_TEXT:
                return True
            left.extend(here.values())
        elif isinstance(here, list):
            left.extend(here)
    return False
