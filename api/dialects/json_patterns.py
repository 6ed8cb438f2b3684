"""Rewrites look-aheads in a JSON Schema's patterns: the compiler of patterns has no look-around.

A look-ahead at the beginning is a further pattern that the text must fit, and `allOf` takes several."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from api.dialects.strict_json import invalid, render

# One character, a class (an unclosed one runs to the end) or a group's opening.
_SIGN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*+(?:\]|\Z)|\(\?<?[=!]|.", re.DOTALL)
# Not supported: look-ahead, look-behind, word boundaries, back-references.
_UNREAD = re.compile(r"\(\?<?[=!]|\\[bBk1-9]")
_DATE = r"(?:\d+Y(?:\d+M)?(?:\d+D)?|\d+M(?:\d+D)?|\d+D)"
_SECONDS = r"\d+(?:[.,]\d+)?S"
_TIME = rf"T(?:\d+H(?:\d+M)?(?:{_SECONDS})?|\d+M(?:{_SECONDS})?|{_SECONDS})"
KNOWN = {
    # zod 4's z.iso.duration()
    r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$": (
        rf"^P(?:\d+W|{_DATE}(?:{_TIME})?|{_TIME})$"
    ),
    # and its z.email() as it was at first; this is how a later zod 4 writes the same.
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$": (
        r"^(?:[A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
    ),
}
"""Patterns that client libraries generate, and equivalents that are supported."""


def check(schema: dict[str, Any], at: str) -> None:
    """Raises CallerError naming an unsupported pattern of this schema itself, whose keywords are well-formed.

    A pattern for another type than the schema's constrains nothing, and is not checked.
    """
    if _may_be("string", schema):
        for pattern in plain(schema.get("pattern", "")):
            _check(pattern, render(["pattern"], at))
    if _may_be("object", schema):
        for pattern in schema.get("patternProperties", ()):
            _check(pattern, render(["patternProperties", pattern], at))


def translate(schema: dict[str, Any]) -> None:
    """Replace the schema's pattern with those of `plain`. Patterns of property names stay as they are."""
    if "pattern" in schema:
        schema["pattern"], *ahead = plain(schema["pattern"])
        if ahead:
            schema["allOf"] = [*schema.get("allOf", ()), *({"pattern": said} for said in ahead)]


def plain(pattern: str) -> tuple[str, ...]:
    """Patterns without look-ahead that together accept the same texts; else the pattern itself."""
    if pattern in KNOWN:
        return (KNOWN[pattern],)
    signs = _SIGN.findall(pattern)
    place, ahead = 1, []
    while signs[:1] == ["^"] and signs[place : place + 1] == ["(?="]:
        end = _end(signs, place)
        # A repeated group may occur zero times.
        if end is None or signs[end + 1 : end + 2] in (["?"], ["*"], ["+"], ["{"]):
            return (pattern,)
        ahead.append(f"^(?:{''.join(signs[place + 1 : end])})")
        place = end + 1
    # With several branches, only the first would look ahead.
    if not ahead or _branches(signs[place:]):
        return (pattern,)
    return "^" + "".join(signs[place:]), *ahead


def _may_be(kind: str, schema: dict[str, Any]) -> bool:
    said = schema.get("type", kind)
    return kind in ([said] if isinstance(said, str) else said)


def _check(pattern: str, at: str) -> None:
    sign = next((sign for sign in _SIGN.findall(pattern) if _UNREAD.fullmatch(sign)), None)
    if sign is not None:
        raise invalid(at, f"has `{sign}`, which answers cannot be held to; write it without")


def _end(signs: Sequence[str], start: int) -> int | None:
    """Where the group that opens at `start` ends."""
    depth = 0
    for place in range(start, len(signs)):
        depth += _step(signs[place])
        if depth == 0:
            return place
    return None


def _branches(signs: Sequence[str]) -> bool:
    depth = 0
    for sign in signs:
        depth += _step(sign)
        if sign == "|" and depth == 0:
            return True
    return False


def _step(sign: str) -> int:
    return -1 if sign == ")" else sign.startswith("(")


# What a JSON Schema says of itself: the draft that it is written in, and names of its parts.
#
# llguidance reads by the draft: it leaves out `prefixItems` in draft 7 and `const` in draft 4, and refuses a
# `$schema` that it does not know. Answers are held to all keywords in any draft, so `$schema` is not passed
# on.

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
