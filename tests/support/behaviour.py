"""The rows of docs/reference/behaviour.toml, as calls that a test can make."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from docs.generate.behaviour import cells, read

SPAN = re.compile(r"`([^`]+)`")
CALL = re.compile(r"`([A-Z]+) (/[^`]*)`")
GROUP = re.compile(r"A \*\*(.+?)\*\* is any of (.+?)\.\s", re.DOTALL)
NOW = re.compile(r"NOW([+-][0-9]+)")


@dataclass(frozen=True)
class Row:
    """One line of a table: a call, what goes with it, how things stand, and what is answered.

    `body` is what comes, in words or as an error's code; `more` what its text also holds.
    """

    method: str
    path: str
    said: tuple[str, ...]
    when: str
    status: int
    body: str
    more: tuple[str, ...]
    headers: tuple[tuple[str, str | None], ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {' '.join(self.said)} {self.when}"

    @property
    def query(self) -> str:
        return "".join(span for span in self.said if span.startswith("?"))

    @property
    def members(self) -> dict[str, Any]:
        """What goes into the body; `NOW+N` is a time so many seconds ahead."""
        spans = [span for span in self.said if span.startswith('"')]
        text = NOW.sub(lambda found: str(time.time() + int(found[1])), ",".join(spans))
        return dict(json.loads("{" + text + "}"))

    @property
    def request_headers(self) -> dict[str, str]:
        spans = [span for span in self.said if span[0] not in '?"']
        pairs = (span.split(": ", 1) for span in spans)
        return {name.lower(): value for name, value in pairs}


def rows() -> list[Row]:
    """Every row, once for each call that its first cell means."""
    sections = read()["section"]
    texts = "".join(section.get("text", "") for section in sections)
    groups = {f"a {name}": CALL.findall(calls) for name, calls in GROUP.findall(texts)}
    return [row for section in sections for line in cells(section) for row in _rows(line, groups)]


def _rows(cells: list[str], groups: dict[str, list[tuple[str, str]]]) -> Iterator[Row]:
    call, said, when, status, body, headers = cells
    words = body.partition(", `")[0].strip("`")
    more = tuple(SPAN.findall(body.partition(", ")[2]))
    expected = tuple(_header(span) for span in SPAN.findall(headers))
    row = Row("", "", tuple(SPAN.findall(said)), when, int(status), words, more, expected)
    for method, path in groups.get(call) or CALL.findall(call):
        yield replace(row, method=method, path=path)


def _header(span: str) -> tuple[str, str | None]:
    name, colon, value = span.partition(": ")
    return name.lower(), value if colon else None
