"""Server-sent events as this service sends them, read line by line (HTML standard, section 9.2)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from shared.job import ENDED


@dataclass(frozen=True)
class ServerSentEvent:
    """One event; an `error`, which tells that the stream cannot go on, has no id."""

    id: int
    name: str
    data: dict[str, Any]

    @property
    def last(self) -> bool:
        return self.name in ENDED


def server_sent_events(lines: Iterable[str]) -> Iterator[ServerSentEvent | str]:
    """Whole events, and comments as text. An event that breaks off in the middle is dropped."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield line[1:].strip()
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield ServerSentEvent(
                int(fields.get("id", 0)), fields.get("event", ""), json.loads(fields["data"])
            )
            fields = {}
