"""`propertyNames` that lists the names, as generators write a map whose keys are an enum: each is a property.

zod's `record(z.enum(…), …)` and Pydantic's `dict[Literal[…], …]` do so.
"""

import json
from typing import Any

from shared.json_pointer import found

MAX_NAME = 256
# Each property has a copy of what is said of all: so long may these be together, as text.
MAX_COPIES = 2**16
NOTES = ("title", "description")


def listed(node: dict[str, Any], root: dict[str, Any]) -> list[str]:
    """The names, if they can be spelled out, else none. References lead through `root`, the whole schema."""
    names, own, others = (node.get(n) for n in ("propertyNames", "properties", "additionalProperties"))
    if isinstance(names, dict) and names.keys() == {"$ref"} and isinstance(names["$ref"], str):
        names = found(root, names["$ref"])
    if not isinstance(names, dict) or not names.keys() <= {"type", "enum", *NOTES}:
        return []
    values = names.get("enum")
    if names.get("type", "string") != "string" or not isinstance(values, list) or "patternProperties" in node:
        return []
    if not all(isinstance(value, str) and len(value) <= MAX_NAME for value in values):
        return []
    copied = json.dumps(others)
    # Copies of copies would be as many as the names of both, multiplied.
    if len(values) * len(copied) > MAX_COPIES or '"propertyNames"' in copied:
        return []
    known = own is None or (isinstance(own, dict) and own.keys() <= {*values})
    return list(dict.fromkeys(values)) if known else []


def spell_out(node: dict[str, Any], root: dict[str, Any]) -> None:
    """The same in words that answers are held to."""
    if names := listed(node, root):
        own, others = node.get("properties", {}), node.get("additionalProperties", True)
        node["properties"] = {name: own.get(name, others) for name in names}
        node["additionalProperties"] = False
        del node["propertyNames"]
