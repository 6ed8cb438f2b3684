"""JSON that is one line for every reader.

JSON escapes all line ends below U+0020. Who cuts text with `str.splitlines`, as httpx and requests do, ends a
line at U+0085, U+2028 and U+2029, too.
"""

from typing import Any

import pydantic_core

_ESCAPES = [(sign, f"\\u{ord(sign):04x}") for sign in "\x85\u2028\u2029"]
_ENCODED_ESCAPES = [(sign.encode(), escape.encode()) for sign, escape in _ESCAPES]


def to_json(value: Any) -> bytes:
    """As pydantic writes it."""
    data: bytes = pydantic_core.to_json(value)
    if not data.isascii():
        for sign, escape in _ENCODED_ESCAPES:
            data = data.replace(sign, escape)
    return data


def in_one_line(text: str) -> str:
    """JSON from elsewhere."""
    for sign, escape in _ESCAPES:
        text = text.replace(sign, escape)
    return text
