"""What `SIGHTLINE_REDIS__ACKNOWLEDGE` costs over HTTP: three minutes.

An API for each value on one primary with one replica, by turns: new jobs, submitted by so many callers at
once. `disk` runs with `appendfsync always`, the others with `everysec`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from matplotlib.figure import Figure

from benchmarks.frame import command, load, report
from benchmarks.frame.load import Load, Shot
from benchmarks.frame.services import Installation, RecordServer, free_port, opened
from benchmarks.frame.statistics import Ratio, ratio
from benchmarks.overhead.services import ECHO, UNLIMITED, distinct_jobs

VALUES = ("memory", "replica", "disk")
CALLERS = (1, 16, 64)
ROUNDS, SECONDS, WARM_UP_S = 5, 3.0, 0.5
LEAST = 0.67
"""Share of the submits of `memory` that 64 callers get: a `WAIT` for each call had .67 to .92."""


class Services(Installation):
    """A primary, its replica, and an API for each value."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ECHO.toml(), UNLIMITED)
        (folder / "replica").mkdir()
        self.replica = RecordServer(folder / "replica")
        self.replica.name = "replica"
        self.ports = {value: free_port() for value in VALUES}

    def start(self) -> None:
        self.add(self.records)
        self.add(self.replica)
        primary, replica = self.records.client(), self.replica.client()
        replica.config_set("masterauth", urlsplit(self.records.url()).password)
        replica.replicaof("127.0.0.1", self.records.port)
        self.until(lambda: bool(primary.wait(1, 100)) or not primary.set("here", 1), "the replica follows")
        for value, port in self.ports.items():
            self.api(port, value, env={"SIGHTLINE_REDIS__ACKNOWLEDGE": value})
            self.wait_until(f"http://127.0.0.1:{port}/health")

    def submit(self, value: str, callers: int, seconds: float) -> Load:
        with self.records.client() as client:
            client.config_set("appendfsync", "always" if value == "disk" else "everysec")
        return load.run(Shot(distinct_jobs(), 202), self.ports[value], seconds=seconds, connections=callers)


@dataclass
class Lap:
    """All rounds of one value with so many callers."""

    value: str
    callers: int
    loads: list[Load]

    @property
    def rates(self) -> list[float]:
        return [one.per_s for one in self.loads]

    def figures(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "callers": self.callers,
            "submits_per_s": round(median(self.rates), 1),
            "p50_ms": round(median(one.p50_ms for one in self.loads), 3),
            "p99_ms": round(median(one.p99_ms for one in self.loads), 3),
        }


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    laps = [Lap(value, callers, []) for callers in CALLERS for value in VALUES]
    with opened(Services) as services:
        for number in range(arguments.rounds):
            for lap in laps:
                services.submit(lap.value, lap.callers, WARM_UP_S)
                lap.loads.append(services.submit(lap.value, lap.callers, SECONDS))
            say(f"round {number + 1}")
    figures = {"submits": [lap.figures() for lap in laps]}
    return report.Findings(
        figures, _picture(laps), ratios=_ratios(laps), summary=json.dumps(figures, indent=1)
    )


def _ratios(laps: Sequence[Lap]) -> list[Ratio]:
    base = {lap.callers: lap.rates for lap in laps if lap.value == VALUES[0]}
    return [
        ratio(f"{lap.value}, {lap.callers} callers", VALUES[0], lap.rates, base[lap.callers], LEAST)
        for lap in laps
        if lap.value != VALUES[0] and lap.callers == CALLERS[-1]
    ]


def _picture(laps: Sequence[Lap]) -> Figure:
    figure, (left, right) = report.figure(2)
    for value in VALUES:
        rows = [lap.figures() for lap in laps if lap.value == value]
        for panel, name in ((left, "submits_per_s"), (right, "p50_ms")):
            panel.plot([row["callers"] for row in rows], [row[name] for row in rows], "o-", label=value)
    report.label(left, "callers", "submits/s", log=True)
    report.label(right, "callers", "ms, median", log=True)
    return figure


if __name__ == "__main__":
    command.main("acknowledge", __doc__, measure, rounds=(ROUNDS, "of all values"))
