"""Writes pieces of grammars in llguidance's dialect of Lark."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from llguidance import regex_to_lark

from shared.request import Format
from worker.engines.grammar import controls
from worker.engines.grammar.translation import translated

Mark = Callable[[str], str]
"""Writes a mark in a grammar: by its number if it is a token, else by its text."""
Spacing = Mapping[str, str | bool]
"""llguidance's options for the blanks in JSON."""
# The keyword from which llguidance reads its options; in a caller's schema it is a key without meaning.
OPTIONS = "x-guidance"
# With numeric escapes, which only control characters need, an additional property's name could be spelled to
# match no listed property or pattern and yet mean one.
ESCAPES = 'nrbtf\\"'


def quoted(text: str) -> str:
    return json.dumps(text)


def is_token(mark: str) -> bool:
    return mark.startswith("<[")


def schema(wanted: Format, spacing: Spacing) -> str:
    """The requested JSON Schema, translated for llguidance, with its options."""
    return spaced(json.loads(wanted.content), spacing)


def spaced(schema: dict[str, Any], spacing: Spacing) -> str:
    options = dict(spacing)
    if not controls.named(schema):
        options["json_allowed_escapes"] = ESCAPES
    return json.dumps(translated(schema) | {OPTIONS: options})


def word(wanted: Format) -> str:
    """The requested expression or choice, as the body of a terminal."""
    if wanted.kind == "regex":
        # Classes mean what they mean in JSON Schema's patterns: \d is [0-9].
        return f"/{regex_to_lark(wanted.content, 'dw')}/"
    return " | ".join(map(quoted, json.loads(wanted.content)))


def lark(wanted: Format) -> str:
    """The requested expression or choice, as a grammar of one terminal."""
    return f"start: WORD\nWORD: {word(wanted)}"
