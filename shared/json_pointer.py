"""JSON pointers (RFC 6901) in a URL's fragment, by which one part of a JSON Schema refers to another."""

import re
from typing import Any
from urllib.parse import unquote

# Python reads no number of thousands of digits.
INDEX = re.compile(r"0|[1-9][0-9]{0,5}")


def resolve(root: Any, place: str) -> Any:
    """What stands at a place as in `#/$defs/name`; None where nothing does."""
    first, *steps = unquote(place.removeprefix("#")).split("/")
    # Otherwise it names an anchor.
    here = None if first else root
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(here, list):
            here = here[int(name)] if INDEX.fullmatch(name) and int(name) < len(here) else None
        else:
            here = here.get(name) if isinstance(here, dict) else None
    return here
