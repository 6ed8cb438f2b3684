"""Measure: how long one call of each function held the record store, by the server's own slow log.

The server counts wall-clock time: on a busy machine that includes the time in which other processes had the
core. Its histograms of latency know all functions as one command.
"""

import re
from collections.abc import Mapping
from typing import Any

THRESHOLD_US, ENTRIES = 100, 10_000
_CALL = re.compile(rb"fcall(?:_ro)? sl_[0-9a-f]+_(\w+)", re.IGNORECASE)
"""A function's name follows that of its library, which ends in a digest."""


class LongestCalls:
    """`ms` is the longest call of each function so far, by its name; shorter ones than 0.1 ms are left out.

    A server that ends takes its log along: `collect` again and again, and before it is killed.
    """

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    def collect(self, client: Any) -> None:
        """Reads the log of a server, empties it, and sees to it that short calls are logged from now on."""
        for entry in _read(client):
            if call := _CALL.match(entry["command"]):
                name, took = call[1].decode(), entry["duration"] / 1000
                self.ms[name] = max(took, self.ms.get(name, 0.0))

    def discard(self, client: Any) -> None:
        """As `collect`, without a look: what was logged is not the calls' own time."""
        _read(client)

    @property
    def figures(self) -> dict[str, float]:
        """The longest first."""
        return dict(sorted(self.ms.items(), key=lambda row: -row[1]))


def _read(client: Any) -> list[Mapping[str, Any]]:
    exchange = client.pipeline()
    exchange.config_set("slowlog-log-slower-than", THRESHOLD_US).config_set("slowlog-max-len", ENTRIES)
    exchange.slowlog_get(ENTRIES).slowlog_reset()
    entries: list[Mapping[str, Any]] = exchange.execute()[2]
    return entries


def table(ms: Mapping[str, float]) -> str:
    """For a person, a line each."""
    return "\n".join(
        [f"{'longest call of a function':32}{'ms':>8}", *(f"{n:32}{x:8.2f}" for n, x in ms.items())]
    )
