"""What a JSON Schema says of itself: the draft that it is written in, and names of its parts.

llguidance reads by the draft: it leaves out `prefixItems` in draft 7 and `const` in draft 4, and refuses a
`$schema` that it does not know. Answers are held to all keywords in any draft, so `$schema` is not passed on.
"""

from collections.abc import Iterable
from typing import Any

UNHELD_3 = frozenset({"disallow", "extends", "divisibleBy"})
"""Keywords of draft 3 that answers are not held to; in later drafts they mean nothing."""
# They call a part's name `id`, which later drafts do not read.
OLDEST = ("draft-03", "draft-04")
# What stands beside a `$ref` means nothing in them, a name neither; but what is called an anchor stays one.
OLDER = (*OLDEST, "draft-05", "draft-06", "draft-07")


def unheld(schema: dict[str, Any]) -> frozenset[str]:
    return UNHELD_3 if _is(schema.get("$schema"), "draft-03") else frozenset()


def settle(root: dict[str, Any], nodes: Iterable[dict[str, Any]]) -> None:
    """Drop what schemas say of themselves, but for names that a reference within them may need.

    A reference begins with `#`, so what an `$id` is means nothing; but an anchor below it is not the whole's.
    llguidance confuses parts of one name, so that each gets its own.
    """
    draft = root.get("$schema")
    for number, node in enumerate(nodes):
        name, anchor = _name(node, draft), node.pop("$dynamicAnchor", None)
        for said in ("$schema", "$id", "$recursiveAnchor"):
            node.pop(said, None)
        if name.startswith("#"):
            # As drafts 4 to 7 write an anchor.
            anchor = name[1:] or anchor
        elif node is not root:
            node["$id"] = f"urn:part:{number}"
        if isinstance(anchor, str) and node.setdefault("$anchor", anchor) != anchor:
            # A part has one anchor.
            also = {"$anchor": anchor, "$ref": f"#{node['$anchor']}"}
            node.setdefault("$defs", {})[f"{number} {anchor}"] = also


class Parts:
    """The parts of a schema with an `$id` of their own, from which their references would lead."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._draft = root.get("$schema")
        self._inside: set[int] = set()

    def has(self, node: dict[str, Any], below: Iterable[Any]) -> bool:
        """Whether it is in one. Asked of every schema before those directly below it."""
        own = node is not self._root and not _name(node, self._draft).startswith("#")
        if found := own or id(node) in self._inside:
            self._inside.update(map(id, below))
        return found


def reference(node: dict[str, Any]) -> list[str]:
    """The place of a reference in this schema itself or in the names of its properties; empty for none."""
    if "$ref" in node:
        return ["$ref"]
    names = node.get("propertyNames")
    return ["propertyNames", "$ref"] if isinstance(names, dict) and "$ref" in names else []


def _name(node: dict[str, Any], draft: Any) -> str:
    """`#` if it has none."""
    said = node.get("$id", node.get("id") if _is(draft, *OLDEST) else None)
    if not said or not isinstance(said, str):
        return "#"
    unread = "$ref" in node and _is(draft, *OLDER) and not said.startswith("#")
    return "#" if unread else said


def _is(draft: Any, *drafts: str) -> bool:
    return isinstance(draft, str) and any(name in draft for name in drafts)
