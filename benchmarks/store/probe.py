"""What each function of the record store costs: microseconds of the server's thread, inner commands, bytes.

Run as a file from the root of a checkout, whose code it measures; it prints JSON.
"""

import json
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path.cwd()))

from benchmarks.frame import jobs as frame
from benchmarks.frame.services import record_server
from benchmarks.frame.usage import thread_s
from shared.result import Piece
from shared.store import admission, claims, jobs
from shared.store.admission import Placing
from shared.store.script import ScriptCall, Store

MODEL = "org/model"
LANE = frame.lane_of(MODEL)
REQUEST = json.dumps({"messages": [{"role": "user", "content": "y" * 200}], "model": MODEL, "max_tokens": 64})
ANSWER = frame.answer("A red square. " * 20, tokens=3)
CALLERS, WORKERS, PAGE = 100, 200, 100
OUTER = ("cmdstat_fcall", "cmdstat_evalsha", "cmdstat_eval", "cmdstat_info", "cmdstat_function|load")
Samples = dict[str, list[tuple[float, float]]]


class Probe:
    """One server with a lane that has a worker, and the calls that jobs are made of."""

    def __init__(self, client: Any) -> None:
        self.client, self.store = client, Store(client)
        self._count = 0

    def placings(self, count: int, blobs: int = 0) -> list[Placing]:
        return [self._placing(tuple(secrets.token_hex(32) for _ in range(blobs))) for _ in range(count)]

    def _placing(self, blobs: Sequence[str]) -> Placing:
        self._count += 1
        caller, digest = f"caller-{self._count % CALLERS}", secrets.token_hex(32)
        key = f"{caller}:{digest}"
        return frame.placing(MODEL, caller, hash=digest, key=key, blobs=blobs, cost=1, request=REQUEST)

    def beat(self) -> None:
        self.store.run(frame.beat("w", LANE, rows=8, slots=10))

    def submits(self, placings: Sequence[Placing]) -> list[ScriptCall[Any]]:
        return [admission.submit(placing, frame.SETTINGS, uploaded=True) for placing in placings]

    def claims(self, count: int) -> list[ScriptCall[Any]]:
        return [frame.claim(f"w{at % WORKERS}", LANE) for at in range(count)]

    def settles(self, taken: Sequence[Any]) -> list[ScriptCall[Any]]:
        return [frame.settle(claim, ANSWER) for claim in taken]

    def timed(self, samples: Samples, name: str, calls: Sequence[ScriptCall[Any]]) -> list[Any]:
        """Run the calls in one exchange; note microseconds and inner commands of each."""
        commands, took = inner_commands(self.client), thread_s(self.client)
        replies = self.store.run_all(calls)
        took, commands = thread_s(self.client) - took, inner_commands(self.client) - commands
        samples.setdefault(name, []).append((took / len(calls) * 1e6, commands / len(calls)))
        return replies

    def round(self, samples: Samples, count: int, pieces: int, blobs: int = 0) -> None:
        """Take `count` jobs from their submission to a reading of their answer."""
        self.beat()
        kind = ", streamed" if pieces else f", {blobs} pictures" if blobs else ""
        placings = self.placings(count, blobs)
        self.timed(samples, f"submit{kind if blobs else ''}", self.submits(placings))
        views = [jobs.view(frame.SETTINGS, placing.caller, placing.job) for placing in placings]
        self.timed(samples, "read, queued", views)
        taken = self.timed(samples, f"claim{kind if blobs else ''}", self.claims(count))
        for at in range(pieces):
            piece = Piece(at * 5, "hello", (1, 2, 3))
            self.timed(samples, "append", [claims.append(claim, piece) for claim in taken])
        if pieces:
            follows = [jobs.follow(placing.caller, placing.job, 0) for placing in placings]
            self.timed(samples, "follow, 3 pieces", follows)
        self.timed(samples, f"settle{kind}", self.settles(taken))
        self.timed(samples, "read, ended", views)
        callers = {placing.caller for placing in placings[:5]}
        pages = [jobs.jobs(frame.SETTINGS, caller, after=None, limit=PAGE) for caller in callers]
        self.timed(samples, f"page of {PAGE}", pages)
        again = [Placing(**{**vars(placing), "job": f"job_{secrets.token_hex(16)}"}) for placing in placings]
        self.timed(samples, "hit with a job", self.submits(again))
        hits = [admission.cached(placing, frame.SETTINGS, texts=False) for placing in again]
        self.timed(samples, "hit without a job", hits)


def inner_commands(client: Any) -> int:
    stats = client.info("commandstats")
    return sum(entry["calls"] for name, entry in stats.items() if name not in OUTER)


@contextmanager
def served() -> Iterator[Any]:
    with record_server() as server, server.client(decode_responses=True) as client:
        yield client


def cost(client: Any) -> dict[str, tuple[float, float]]:
    """Return the best of some rounds: what else the machine does only adds."""
    probe = Probe(client)
    samples: Samples = {}
    for at in range(5):
        found: Samples = {}
        for pieces, blobs in ((0, 0), (3, 0), (0, 2)):
            probe.round(found, 1000, pieces, blobs)
        for name, rounds in found.items() if at else ():
            samples.setdefault(name, []).extend(rounds)
    return {
        name: (round(min(us for us, _ in rounds), 1), round(median(n for _, n in rounds), 1))
        for name, rounds in samples.items()
    }


def memory(client: Any, *, ended: bool) -> dict[str, float]:
    """Return the bytes and keys that each job holds."""
    probe = Probe(client)

    def jobs_of(count: int) -> None:
        probe.store.run_all(probe.submits(probe.placings(count)))
        if ended:
            probe.store.run_all(probe.settles(probe.store.run_all(probe.claims(count))))

    probe.beat()
    jobs_of(400)
    before, keys = client.info("memory")["used_memory"], client.dbsize()
    for _ in range(5):
        jobs_of(1000)
    used, more = client.info("memory")["used_memory"] - before, client.dbsize() - keys
    return {"bytes": round(used / 5000), "keys": round(more / 5000, 2)}


def main() -> None:
    parts: dict[str, Callable[[Any], Any]] = {
        "cost": cost,
        "queued": lambda client: memory(client, ended=False),
        "ended": lambda client: memory(client, ended=True),
    }
    found = {}
    for name, part in parts.items():
        with served() as client:
            found[name] = part(client)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
