"""Rewrites look-aheads in a JSON Schema's patterns: the compiler of patterns has no look-around.

A look-ahead at the beginning is a further pattern that the text must fit, and `allOf` takes several.
"""

import re
from collections.abc import Sequence
from typing import Any

from api.dialects.refusals import invalid
from api.dialects.strict_json import render

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
