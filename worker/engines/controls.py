"""Whether a JSON Schema names a control character: only then has an answer to be able to spell one."""

import json
import re
from collections.abc import Iterator
from typing import Any

from worker.engines.translation import nodes

# Begins an escape, and is not the second half of an escaped backslash.
BACKSLASH = r"(?<!\\)(?:\\\\)*\\"
# As JSON writes those that it has no letter for.
WRITTEN = re.compile(rf"{BACKSLASH}u00(?:[01]|7f)")
# As patterns name them, or signs that they may be among.
PATTERN = re.compile(rf"{BACKSLASH}(?:u00[017]|x[017]|0|[avpP]|[ux]\{{)")


def named(schema: dict[str, Any]) -> bool:
    """In a literal, a name or a pattern: what a schema tells its readers asks for nothing."""
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
    """None below an unknown keyword, where it may be something else."""
    if isinstance(said := node.get(keyword), dict):
        yield from said
