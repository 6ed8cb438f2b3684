"""Finds out whether a JSON Schema names a control character: only then may an answer contain one."""

import json
import re
from collections.abc import Iterator
from typing import Any

from worker.engines.grammar.translation import nodes

# Begins an escape, and is not the second half of an escaped backslash.
BACKSLASH = r"(?<!\\)(?:\\\\)*\\"
# As JSON writes control characters without a short escape.
WRITTEN = re.compile(rf"{BACKSLASH}u00(?:[01]|7f)")
# As patterns name control characters, or classes that may include them.
PATTERN = re.compile(rf"{BACKSLASH}(?:u00[017]|x[017]|0|[avpP]|[ux]\{{)")


def named(schema: dict[str, Any]) -> bool:
    """Whether a literal, a name or a pattern names one; a schema's descriptions do not count."""
    for node in nodes(schema):
        patterns = [*_patterns(node)]
        names = [*_names(node, "properties"), node.get("required")]
        said = [node.get("const"), node.get("enum"), names, patterns]
        if WRITTEN.search(json.dumps(said)) or any(map(PATTERN.search, patterns)):
            return True
    return False


def _patterns(node: dict[str, Any]) -> Iterator[str]:
    yield from _names(node, "patternProperties")
    if isinstance(pattern := node.get("pattern"), str):
        yield pattern


def _names(node: dict[str, Any], keyword: str) -> Iterator[str]:
    """The names under `keyword`; none if its value is no object, as may be below an unknown keyword."""
    if isinstance(said := node.get(keyword), dict):
        yield from said
