"""Respells JSON Schema's patterns, which follow ECMA 262, in Rust's syntax, which llguidance reads.

In Rust `[`, `&&`, `--` and `~~` inside a class begin another class. Where ECMA and Python differ, patterns
are read as in Python: `{,2}` is `{0,2}`, and a bracket right at the beginning of a class does not end it.
"""

import json
import re
from collections import Counter, deque
from typing import Any

HEX = "[0-9a-fA-F]"
TOKEN = re.compile(
    rf"\\u[dD][89abAB]{HEX}{{2}}\\u[dD][c-fC-F]{HEX}{{2}}"
    rf"|\\u{HEX}{{4}}|\\x{HEX}{{2}}|\\[uxpP]\{{[^{{}}\\]*\}}|\\0(?![0-9])|\\[^0]"
    r"|\{[0-9]+(?:,[0-9]*)?\}|\{,[0-9]+\}|.",
    re.DOTALL,
)
# They stand for several characters, so no range begins or ends with them.
SEVERAL = re.compile(r"\\[dDwWsSpP]")
# A class with all characters below the space would match quotes and backslashes, too, in llguidance; so
# ranges and negated classes leave this one out.
NUL = r"\x00"
NULS = frozenset({"\0", r"\0", NUL, r"\u0000"})
# ECMA 262's white space and line ends. Rust's has U+0085 besides, and lacks U+FEFF.
SPACE = r"\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
CLASSES = {r"\s": f"[{SPACE}]", r"\S": f"[^{SPACE}]"}
# Characters with another meaning inside a class.
SIGNS = frozenset("[]&~-")


def translate(schema: dict[str, Any]) -> None:
    if isinstance(pattern := schema.get("pattern"), str):
        schema["pattern"] = spelled(pattern)


def rename(schema: dict[str, Any]) -> None:
    """Respell the keys of `patternProperties`."""
    if isinstance(named := schema.get("patternProperties"), dict):
        schema["patternProperties"] = _renamed(named)


def spelled(pattern: str) -> str:
    tokens = deque(TOKEN.findall(pattern))
    said = ""
    while tokens:
        sign = tokens.popleft()
        said += _class(tokens) if sign == "[" else _outside(sign)
    return said


def _renamed(named: dict[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    alike: Counter[str] = Counter()
    for pattern, schema in named.items():
        name = said = spelled(pattern)
        while name in renamed:
            # Two spellings of one pattern: both are kept, and llguidance refuses them.
            alike[said] += 1
            name = f"{said}(?:){{{alike[said]}}}"
        renamed[name] = schema
    return renamed


def _class(tokens: deque[str]) -> str:
    """A class, after its opening bracket. One that does not end stays so, and llguidance refuses it."""
    said = "["
    if tokens and tokens[0] == "^":
        said += tokens.popleft() + NUL
    items = ""
    while tokens and not (items and tokens[0] == "]"):
        items += _item(tokens)
    return said + items + (tokens.popleft() if tokens else "")


def _item(tokens: deque[str]) -> str:
    """A character or a range."""
    first = tokens.popleft()
    if len(tokens) < 2 or tokens[0] != "-" or tokens[1] == "]":
        return _inside(first)
    dash, last = tokens.popleft(), tokens.popleft()
    if first in NULS and last in NULS:
        return NUL
    if SEVERAL.match(first) or SEVERAL.match(last):
        dash = _inside(dash)
    return (r"\x01" if first in NULS else _inside(first)) + dash + _inside(last)


def _inside(sign: str) -> str:
    return rf"\{sign}" if sign in SIGNS else _escape(sign)


def _outside(sign: str) -> str:
    if sign.startswith("{,"):
        return f"{{0{sign[1:]}"
    return r"\{" if sign == "{" else _escape(sign)


def _escape(sign: str) -> str:
    if sign == r"\0":
        return NUL
    if sign in (r"\<", r"\>"):
        return sign[1]
    if sign in CLASSES:
        return CLASSES[sign]
    # A character beyond U+FFFF, in two halves as in JavaScript.
    return str(json.loads(f'"{sign}"')) if sign.count(r"\u") == 2 else sign
