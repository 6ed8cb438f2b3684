"""Prints text for people at a terminal and JSON for scripts."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
# Characters that move the cursor, ring or hide text: answers and metadata are other people's words.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """The text with control characters replaced."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def show_json(value: Any) -> None:
    """Print a value as one line of JSON; characters that the output's encoding may lack are escaped."""
    print(json.dumps(value, ensure_ascii=sys.stdout.encoding.lower() != "utf-8"), flush=True)


def show_secret(named: dict[str, Any], whose: str, *, as_json: bool) -> None:
    """Show a secret, this once. It stands alone on standard output, for scripts."""
    if as_json:
        show_json(named)
        return
    message = f"sightline: {named['id']} of {whose}; its secret is shown this once:"
    print(plain(message), file=sys.stderr, flush=True)
    print(plain(named["secret"]))


def show_piece(piece: str) -> None:
    """Print the next piece of a text at once."""
    print(plain(piece), end="", flush=True)


def note(text: str) -> None:
    """Print progress to standard error: standard output is for results."""
    print(f"sightline: {plain(text)}", file=sys.stderr, flush=True)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of rows with the same number of cells, aligned in columns."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def named(facts: Sequence[tuple[str, str | None]]) -> list[str]:
    """One name and value a line; facts without a value are left out."""
    return [f"{name:<10}{plain(value)}" for name, value in facts if value is not None]


def span(seconds: float) -> str:
    """A duration in its largest unit, with tenths below ten seconds."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    return f"{int(seconds / size)}{unit}"


def moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def moment_if_any(unix_s: float | None) -> str | None:
    return None if unix_s is None else moment(unix_s)
