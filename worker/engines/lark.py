"""Pieces of grammars as llguidance reads them, in its dialect of Lark."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from llguidance import regex_to_lark

from shared.request import Format
from worker.engines import controls
from worker.engines.translation import translated

Mark = Callable[[str], str]
"""Names a mark in a grammar: a token of its own by its number, any other by its text."""
Spacing = Mapping[str, str | bool]
"""llguidance's options for the blanks in JSON."""
# What llguidance takes for its own in a schema; to a caller it is a key without meaning.
OPTIONS = "x-guidance"
# With its signs as escaped numbers an open name could be spelled so that it is no property's, nor of any
# pattern, and means one; only control characters need that.
ESCAPES = 'nrbtf\\"'


def quoted(text: str) -> str:
    return json.dumps(text)


def is_token(mark: str) -> bool:
    return mark.startswith("<[")


def schema(wanted: Format, spacing: Spacing) -> str:
    """The wanted JSON Schema as llguidance keeps it, with its options."""
    return spaced(json.loads(wanted.content), spacing)


def spaced(schema: dict[str, Any], spacing: Spacing) -> str:
    options = dict(spacing)
    if not controls.named(schema):
        options["json_allowed_escapes"] = ESCAPES
    return json.dumps(translated(schema) | {OPTIONS: options})


def word(wanted: Format) -> str:
    """The wanted expression or choice, as the body of a grammar's word."""
    if wanted.kind == "regex":
        # Classes as JSON Schema's patterns have them: \d is [0-9].
        return f"/{regex_to_lark(wanted.content, 'dw')}/"
    return " | ".join(map(quoted, json.loads(wanted.content)))


def lark(wanted: Format) -> str:
    """The wanted expression or choice, as a grammar of one word."""
    return f"start: WORD\nWORD: {word(wanted)}"
