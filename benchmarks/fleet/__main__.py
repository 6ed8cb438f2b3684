"""How many jobs a second can one record store do? About a minute and a half.

Processes that play admission, workers, couriers and the broker fill the store with jobs whose answers come
whole, are streamed, or are told to a webhook. A rate is that of a whole core of the server.
"""

import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from matplotlib.figure import Figure

from benchmarks.fleet.workload import MILL_WAYS, Way
from benchmarks.frame import command, report
from benchmarks.frame.services import ClientProcess, record_server
from benchmarks.frame.statistics import Bound
from benchmarks.frame.usage import thread_s

PER_S = {"whole": 2500.0, "webhooks": 1200.0}
"""Jobs a second that one record store is to do."""


@dataclass(frozen=True)
class Saturation:
    """A record store filled by `mills` processes: `redis` is the share of a core that the server used,
    `full_per_s` the rate of a whole core."""

    way: str
    mills: int
    jobs_per_s: float
    redis: float
    full_per_s: float
    redis_us_per_job: float


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    rows = []
    for way in MILL_WAYS:
        rows.append(saturation(way, arguments.seconds))
        say(str(rows[-1]))
    bounds = [
        Bound(f"one record store, {row.way}", row.full_per_s, PER_S[row.way], "jobs/s", at_least=True)
        for row in rows
        if row.way in PER_S
    ]
    return report.Findings({"mills": [asdict(row) for row in rows]}, _picture(rows), bounds)


def saturation(way: Way, seconds: float) -> Saturation:
    """Fill the store with one process for each core that the record server leaves, and two at least."""
    count = max(2, (os.cpu_count() or 2) - 1)
    with record_server() as records, ExitStack() as stack:
        env = {"SIGHTLINE_REDIS__URL": records.url()}
        arguments = ("benchmarks.fleet.workload", way.name, f"{seconds:g}")
        mills = [ClientProcess(*arguments, str(number), env=env) for number in range(count)]
        for mill in mills:
            stack.enter_context(mill)
        for mill in mills:
            mill.receive()
        client, began = records.client(), time.monotonic()
        before_s = thread_s(client)
        rows = [json.loads(mill.receive()) for mill in mills]
        core = (thread_s(client) - before_s) / (time.monotonic() - began)
    per_s = sum(row["jobs"] / row["seconds"] for row in rows)
    return Saturation(
        way=way.name,
        mills=count,
        jobs_per_s=round(per_s, 1),
        redis=round(core, 4),
        full_per_s=round(per_s / core, 1),
        redis_us_per_job=round(core / per_s * 1e6, 1),
    )


def _picture(rows: Sequence[Saturation]) -> Figure:
    figure, panel = report.figure(size=(6, 3.5))
    panel.bar([row.way for row in rows], [row.full_per_s for row in rows], width=0.5)
    panel.set_ylabel("jobs/s of one Redis, its core full")
    return figure


if __name__ == "__main__":
    command.main("fleet", __doc__, measure, seconds=(10.0, "that each way is measured for"))
