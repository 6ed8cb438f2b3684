"""JSON as text in one line, as in `shared.json_line`, for `map`, which runs without the service."""

import json
from typing import Any

_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x85\u2028\u2029"}


def to_text(value: Any, **options: Any) -> str:
    """As the standard library writes it, with its options, readable in any language."""
    return json.dumps(value, **{"ensure_ascii": False} | options).translate(_ESCAPES)
