"""Prints tables and colour for people at a terminal, plain text and JSON for scripts."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sightline.json_text import to_text

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
# Characters that move the cursor, ring or hide text: answers and metadata are other people's words.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_STYLES = {
    **dict.fromkeys(("ok", "on", "succeeded", "completed", "ready"), "green"),
    **dict.fromkeys(("problem", "failed", "expired", "revoked"), "red"),
    **dict.fromkeys(("warning", "off", "paused", "draining"), "yellow"),
    **dict.fromkeys(("running", "in_progress"), "cyan"),
}


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads it, on something that knows colours."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def plain(text: str) -> str:
    """The text with control characters replaced."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def show_json(value: Any) -> None:
    """Print a value as one line of JSON; characters that the output's encoding may lack are escaped."""
    print(to_text(value, ensure_ascii=sys.stdout.encoding.lower() != "utf-8"), flush=True)


def show(value: Any, as_json: bool, display: Callable[[Any], object]) -> None:
    """JSON for a script that asks for it, else what `display` prints."""
    (show_json if as_json else display)(value)


def show_secret(named: dict[str, Any], whose: str, *, as_json: bool) -> None:
    """Show a secret, this once. It stands alone on standard output, for scripts."""
    if not as_json:
        note(f"{named['id']} of {whose}; its secret is shown this once:")
    show(named, as_json, lambda named: print(plain(named["secret"])))


def show_piece(piece: str) -> None:
    """Print the next piece of a text at once."""
    print(plain(piece), end="", flush=True)


def note(text: str, style: str = "dim") -> None:
    """Print news or a failure to standard error: standard output is for results."""
    line = f"sightline: {plain(text)}"
    if is_terminal(sys.stderr):
        Console(stderr=True).print(Text(line, style), soft_wrap=True)
    else:
        print(line, file=sys.stderr, flush=True)


def show_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a heading; `head` may be empty."""
    cells = [tuple(map(plain, row)) for row in rows]
    if not is_terminal(sys.stdout):
        lines = [head, *cells] if head else cells
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        print("\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines))
        return
    table = Table(box=box.SIMPLE_HEAD if head else None, pad_edge=False, show_header=bool(head))
    for at, name in enumerate(head or cells[0]):
        # An id is copied from here.
        table.add_column(name, no_wrap=at == 0, overflow="fold")
    for row in cells:
        table.add_row(*map(_styled, row))
    Console().print(table)


def show_facts(facts: Iterable[tuple[str, str | None]]) -> None:
    """Print one name and value a line; facts without a value are left out."""
    known = [(name, plain(value)) for name, value in facts if value is not None]
    if not is_terminal(sys.stdout):
        print("\n".join(f"{name:<10}{value}" for name, value in known))
        return
    grid = Table.grid(padding=(0, 2))
    for name, value in known:
        grid.add_row(Text(name, "bold"), _styled(value))
    Console().print(grid)


def _styled(text: str) -> Text:
    """A text of others is never read as markup."""
    return Text(text, _STYLES.get(re.split(r"\W", text, maxsplit=1)[0], ""))


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
