"""Writes pieces of grammars in llguidance's dialect of Lark."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llguidance import regex_to_lark
from llguidance.gbnf_to_lark import GbnfToLarkError, gbnf_to_lark

from shared.request import Format
from shared.tool_calls.thoughts import Marks

Mark = Callable[[str], str]
"""Writes a mark in a grammar: by its number if it is a token, else by its text."""
Spacing = Mapping[str, str | bool]
"""llguidance's options for the spaces in JSON."""
# The keyword from which llguidance reads its options; a caller's own is replaced.
OPTIONS = "x-guidance"
_GBNF_RULE = re.compile(r"^[ \t]*[\w-]+[ \t]*::=", re.MULTILINE)
# Parts of a pattern. A class of characters is one, because nothing in it looks around or refers back.
_PART = re.compile(
    r"(?P<look>\(\?<?[=!])|(?P<edge>\\[bB])|(?P<back>\\[1-9]\d*)|\[\^?\]?(?:\\.|[^\]\\])*+\]?|\\.|.",
    re.DOTALL,
)
# Keywords whose value has names of the caller's, each with a schema.
_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_WIDER = {"look": "(?:)", "edge": "(?:)", "back": "(?s:.*)"}
DEFAULTS: dict[str, str | bool] = {
    # With numeric escapes, an additional property's name could be written to match no listed property or
    # pattern and yet mean one.
    "json_allowed_escapes": 'nrbtf\\"',
    # Branches that it cannot tell apart are those of an `anyOf`; the finished answer is checked.
    "coerce_one_of": True,
}


def quoted(text: str) -> str:
    return json.dumps(text)


def is_token(mark: str) -> bool:
    return mark.startswith("<[")


def json_schema(text: str, spacing: Spacing) -> str:
    """A caller's JSON Schema, as text, with llguidance's options."""
    schema: dict[str, Any] = json.loads(text)
    for node in patterned(schema):
        node["pattern"] = regular(node["pattern"])
    return json.dumps(schema | {OPTIONS: {**DEFAULTS, **spacing}})


def regular(pattern: str) -> str:
    """Return a wider pattern, without the look-arounds of zod and others, which llguidance refuses."""
    parts, depth = [], 0
    for part in _PART.finditer(pattern):
        if not depth:
            parts.append(_WIDER.get(part.lastgroup or "", part[0]))
        if depth or part.lastgroup == "look":
            depth += part[0].startswith("(") - (part[0] == ")")
    return "".join(parts)


def word(wanted: Format) -> str:
    """The requested expression or choice, as the body of a terminal."""
    if wanted.kind == "regex":
        # Classes mean what they mean in JSON Schema's patterns: \d is [0-9].
        return f"/{regex_to_lark(wanted.content, 'dw')}/"
    return " | ".join(map(quoted, json.loads(wanted.content)))


def lark(wanted: Format, spacing: Spacing, rule: str = "start") -> str:
    """The format as the rule of a grammar. Raises ValueError."""
    if wanted.kind == "grammar":
        # In a grammar of its own, so that its rules may have any names.
        return f"{rule}: %lark {{\n{_written(wanted.content)}\n}}"
    if wanted.kind == "json":
        return f"{rule}: %json {json_schema(wanted.content, spacing)}"
    return f"{rule}: WORD\nWORD: {word(wanted)}"


def _written(grammar: str) -> str:
    """A caller's grammar in Lark: GBNF is translated."""
    try:
        return gbnf_to_lark(grammar) if _GBNF_RULE.search(grammar) else grammar
    except (GbnfToLarkError, RecursionError) as error:
        raise ValueError(str(error)) from None


def behind_thoughts(grammar: str, marks: Marks | None, mark: Mark) -> str:
    """A grammar of answers that are what this one says behind their thoughts; no answer has to have any."""
    if marks is None:
        return grammar
    opening, closing = (
        " ".join(map(mark, re.findall(r"<[^>]*>|[^<]+", text))) for text in (marks.opening, marks.closing)
    )
    return "\n".join(
        [
            f"start: ({opening} thoughts)? answer" if opening else "start: thoughts answer",
            "thoughts: thought BLANKS",
            f"thought{'' if is_token(closing) else '[lazy]'}: THOUGHT {closing}",
            r"THOUGHT: /(.|\n)*/",
            r"BLANKS: /\n{0,2}/",
            re.sub("^start:", "answer:", grammar, count=1, flags=re.MULTILINE),
        ]
    )


def patterned(value: Any) -> Iterator[dict[str, Any]]:
    """Yield each object with a pattern in a schema, itself included; `const` and `enum` have none."""
    pending = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(node.get("pattern"), str):
                yield node
            for name, value in node.items():
                if name in _NAMED and isinstance(value, dict):
                    pending.extend(value.values())
                elif name not in ("const", "enum"):
                    pending.append(value)
        elif isinstance(node, list):
            pending.extend(node)
