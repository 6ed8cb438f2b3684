"""How long one function holds the record store on its worst day: two minutes.

Runs that 256 and 500 jobs share, callers with 16 endpoints, a removed model, lost leases, late jobs, a
long text that is taken back, an answer and a picture that thousands hold, records that cannot be read.
Each figure is the longest single call by the server's own clock, and how many calls all of the work took.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.command import Options, Say
from benchmarks.frame.report import Findings
from benchmarks.frame.statistics import Bound
from benchmarks.store.probe import LANE, SETTINGS, Probe, served
from shared.job import Times
from shared.result import Piece
from shared.store import admission, claims, jobs, maintenance, models, webhook_endpoints
from shared.store.admission import JobTerms, Placing
from shared.store.script import ScriptCall
from shared.webhooks import Endpoint

RUNS, JOINED, ENDPOINTS = 50, 256, 16
CROWDS, CROWD = 25, 500
"""Runs with as many jobs as may share one."""
PIECES = 26
"""Calls in which the late jobs of such a run end, ENDS of `functions/runs.lua` in each."""
TEXTS = 16384
OTHER_PRINT = "b" * 32
CALLER = "caller-0"
LIMIT_MS = 50.0
"""Callers of other models wait no longer for one call."""


class Day:
    """A server, and the longest call of each kind; `runs` are those that many jobs share."""

    def __init__(self, client: Any, runs: int = RUNS) -> None:
        self.probe, self.runs = Probe(client, callers=1), runs
        self.client, self.found = client, dict[str, dict[str, float]]()
        client.config_set("slowlog-max-len", 4000)
        # While the server rewrites its log, it shares the machine with a process of its own.
        client.config_set("auto-aof-rewrite-percentage", 0)

    def timed(self, name: str, calls: Iterator[ScriptCall[Any]]) -> list[Any]:
        """Runs calls one by one."""
        replies: list[Any] = []
        longest = self.longest_ms(b"FCALL", lambda: replies.extend(map(self.probe.store.run, calls)))
        self.found[name] = {"longest_ms": longest, "calls": len(replies)}
        return replies

    def longest_ms(self, command: bytes, act: Callable[[], object]) -> float:
        """The longest use of a command meanwhile."""
        self.client.config_set("slowlog-log-slower-than", 100)
        self.client.slowlog_reset()
        act()
        entries = self.client.slowlog_get(4000)
        self.client.config_set("slowlog-log-slower-than", -1)
        took = [entry["duration"] for entry in entries if entry["command"].upper().startswith(command)]
        return round(max(took, default=100) / 1000, 2)

    def until(self, name: str, call: ScriptCall[Any], over: Callable[[Any], bool]) -> None:
        """The same call, until its reply says that nothing is left."""

        replies: list[Any] = []

        def keep(reply: Any) -> Any:
            replies.append(call.parse(reply))
            return replies[-1]

        def calls() -> Iterator[ScriptCall[Any]]:
            while not replies or not over(replies[-1]):
                yield replace(call, parse=keep)

        self.timed(name, calls())

    def shared_runs(self, count: int) -> None:
        """Runs that so many jobs of one caller share."""
        for placing in self.probe.placings(count):
            self.submit_shared(placing)

    def submit_shared(self, placing: Placing, count: int = JOINED, times: Times | None = None) -> list[str]:
        """One run, and so many jobs that share it."""
        jobs = [replace(placing, job=f"job_{secrets.token_hex(16)}") for _ in range(count)]
        terms = JobTerms(times=times or Times())
        self.probe.store.run_all([admission.submit(job, SETTINGS, terms, uploaded=True) for job in jobs])
        return [job.job for job in jobs]

    def begin(self) -> None:
        """An empty server, a caller with endpoints and a worker."""
        self.client.flushall()
        for number in range(ENDPOINTS):
            endpoint = Endpoint(f"wh_{number:x}", "https://example.com/", ("job.*",), "", 1)
            self.probe.store.run(webhook_endpoints.create(CALLER, endpoint, "example.com", "s"))
        self.probe.beat()


def measure(_: Options, say: Say) -> Findings:
    longest = served(lambda client: worst(client, say))
    limits = [Bound(name, figures["longest_ms"], LIMIT_MS, "ms") for name, figures in longest.items()]
    return Findings({"longest": longest}, picture(longest), limits)


def worst(client: Any, say: Say) -> dict[str, dict[str, float]]:
    day = Day(client)
    shared = (shared_runs, rescue, removal, late_jobs, late_beginnings)
    for part in (*shared, unread_text, broken_records, pages):
        say(part.__name__)
        day.begin()
        part(day)
    return day.found


def claims_of(day: Day, count: int) -> list[Any]:
    return [day.probe.store.run(call) for call in day.probe.claims(count)]


def shared_runs(day: Day) -> None:
    day.shared_runs(day.runs)
    taken = day.timed("claim of a shared run", iter(day.probe.claims(day.runs)))
    day.timed("settle of a shared run", iter(day.probe.settles(taken)))
    day.until(
        "finish: ends of shared runs, with endpoints", maintenance.finish(SETTINGS), lambda left: not left
    )


def rescue(day: Day) -> None:
    day.shared_runs(2 * RUNS)
    claims_of(day, 2 * RUNS)
    first = day.client.time()[0] * 1000
    last = first + round(SETTINGS.queue.lease_s * 1000)
    call = claims.rescue(SETTINGS)
    # A clock that goes on second by second: a leap would be an outage, after which leases are extended.
    clock = [at_time(call, at) for at in range(first, last + 6000, 1000)]
    # A beat long ago looks like an outage, too.
    day.probe.store.run(clock[0])
    day.client.hdel("sl8:upkeep", "grace_till")
    day.timed("rescue of shared runs", iter(clock))


def removal(day: Day) -> None:
    day.shared_runs(day.runs)
    day.probe.store.run(models.remove(LANE))
    day.timed("sweep of a removed model", sweeps(day))
    day.until("finish: ends of a removed model", maintenance.finish(SETTINGS), lambda left: not left)


def sweeps(day: Day) -> Iterator[ScriptCall[int]]:
    """One walk over all jobs."""
    cursor = None
    while cursor != 0:
        cursor, pieces = models.open_jobs(day.probe.store, cursor or 0)
        yield from (models.sweep(SETTINGS, LANE, some) for some in pieces)


def late_jobs(day: Day) -> None:
    """Runs all of whose jobs are late as the run is settled, or as the maintenance looks at them."""
    late = lease_end(day)
    for placing in day.probe.placings(2 * CROWDS):
        day.submit_shared(placing, CROWD, Times(finish_by=late))
    settles = [at_time(call, late) for call in day.probe.settles(claims_of(day, CROWDS))]
    day.timed("settle of a run that is late for all", iter(settles * PIECES))
    day.until("expire of late jobs", at_time(maintenance.expire(SETTINGS), late), lambda reply: not reply[1])


def late_beginnings(day: Day) -> None:
    """Runs that many share, one of whose jobs, a more urgent one, is too late to begin."""
    late = lease_end(day)
    for placing in day.probe.placings(2 * CROWDS):
        day.submit_shared(placing, CROWD - 1)
        day.submit_shared(replace(placing, priority="interactive"), 1, Times(start_by=late))
    calls = [at_time(claims.within(8, call), late) for call in day.probe.claims(2 * CROWDS)]
    day.timed("claim where jobs are late", iter(calls))
    day.until(
        "expire of late beginnings", at_time(maintenance.expire(SETTINGS), late), lambda reply: not reply[1]
    )


def unread_text(day: Day) -> None:
    """A long text that nobody has read, taken back for a worker of another model."""
    day.probe.store.run_all(day.probe.submits(day.probe.placings(1)))
    (taken,) = claims_of(day, 1)
    pieces = (Piece(at * 5, "hello", (1, 2, 3)) for at in range(TEXTS))
    day.probe.store.run_all([claims.append(taken, piece) for piece in pieces])
    day.probe.store.run(claims.give_back(SETTINGS, taken, reason="shutdown", error=None))
    (claim,) = day.probe.claims(1)
    other = replace(claim, arguments={**claim.arguments, "print": OTHER_PRINT})
    day.timed("claim that takes a text back", iter([other]))


def lease_end(day: Day) -> int:
    """Of a lease granted now, Unix ms."""
    return int(day.client.time()[0] * 1000 + round(SETTINGS.queue.lease_s * 1000))


def at_time(call: ScriptCall[Any], now: int) -> ScriptCall[Any]:
    return replace(call, arguments={**call.arguments, "now": now})


def broken_records(day: Day) -> None:
    placings = day.probe.placings(1000)
    day.probe.store.run_all(day.probe.submits(placings))
    for placing in placings:
        day.client.hset(f"sl8:{placing.job}", "r", "{")
    day.timed("claim over a thousand broken records", iter(claims.within(8, c) for c in day.probe.claims(60)))


def pages(day: Day) -> None:
    placings = day.probe.placings(400)
    day.probe.store.run_all(day.probe.submits(placings))
    day.probe.store.run_all(day.probe.settles(claims_of(day, 200)))
    page = jobs.jobs(SETTINGS, CALLER, after=None, limit=100)
    day.timed("page of 100 queued jobs", iter([page] * 5))


def picture(found: dict[str, dict[str, float]]) -> Figure:
    figure, panel = report.figure(size=(9, 4))
    names = list(found)
    panel.barh(names, [found[name]["longest_ms"] for name in names])
    panel.set_xlabel("longest call, ms")
    return figure


if __name__ == "__main__":
    command.main("worst", __doc__, measure)
