"""What each function of the record store costs: microseconds of the server's thread, inner commands, bytes.

Run as a file from the root of a checkout, whose code it measures; it prints JSON. It uses only what also an
earlier commit has, so that two commits can be measured in turn.
"""

import json
import secrets
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path.cwd()))

from redis import Redis

from shared.result import Choice, Piece, Result, Usage
from shared.settings import QueueSettings, Settings
from shared.store import admission, claims, jobs, workers
from shared.store.admission import Placing
from shared.store.script import ScriptCall, Store
from tests.support.redis_server import redis_server

LANE, MODEL, PRINT = "model.org--model", "org/model", "a" * 32
SETTINGS = Settings(queue=QueueSettings(max_queued=10**7, max_queued_caller=10**7))
REQUEST = json.dumps({"messages": [{"role": "user", "content": "y" * 200}], "model": MODEL, "max_tokens": 64})
ANSWER = Result(
    choices=(Choice(text="A red square. " * 20, finish_reason="stop", score=0.5),),
    usage=Usage(prompt_tokens=9, completion_tokens=3, image_tokens=4),
    fingerprint=PRINT,
    compute_s=0.25,
)
CALLERS, WORKERS, PAGE = 10, 200, 100
OUTER = ("cmdstat_fcall", "cmdstat_evalsha", "cmdstat_eval", "cmdstat_info", "cmdstat_function|load")
Samples = dict[str, list[tuple[float, float]]]


class Probe:
    """One server with a lane that has a worker, and the calls that jobs are made of."""

    def __init__(self, client: Any, callers: int = CALLERS) -> None:
        self.client, self.store = client, Store(client)
        self._callers, self._count = callers, 0

    def beat(self) -> None:
        facts = {"rows": "8", "slots": "10", "engine": "echo"}
        self.store.run(
            workers.beat(
                SETTINGS,
                worker="w",
                lane=LANE,
                state="ready",
                fingerprint=PRINT,
                row=None,
                facts=facts,
                record={},
            )
        )

    def placings(self, count: int, blobs: int = 0) -> list[Placing]:
        return [self._placing(tuple(secrets.token_hex(32) for _ in range(blobs))) for _ in range(count)]

    def _placing(self, blobs: Sequence[str]) -> Placing:
        self._count += 1
        caller, digest = f"caller-{self._count % self._callers}", secrets.token_hex(32)
        job = f"job_{secrets.token_hex(16)}"
        # Runs had records of their own in earlier commits.
        run: dict[str, Any] = (
            {"run": f"run_{secrets.token_hex(16)}"} if "run" in Placing.__annotations__ else {}
        )
        return Placing(
            job=job,
            caller=caller,
            model=MODEL,
            lane=LANE,
            priority="normal",
            hash=digest,
            key=f"{caller}:{digest}",
            blobs=tuple(blobs),
            cost=1,
            request=REQUEST,
            **run,
        )

    def submits(self, placings: Sequence[Placing]) -> list[ScriptCall[Any]]:
        return [admission.submit(placing, SETTINGS, uploaded=True) for placing in placings]

    def claims(self, count: int) -> list[ScriptCall[Any]]:
        return [
            claims.claim(
                SETTINGS, lane=LANE, worker=f"w{at % WORKERS}", token=secrets.token_hex(16), fingerprint=PRINT
            )
            for at in range(count)
        ]

    def settles(self, taken: Sequence[Any]) -> list[ScriptCall[Any]]:
        return [claims.settle(SETTINGS, claim, ANSWER, fingerprint=PRINT) for claim in taken]

    def timed(self, samples: Samples, name: str, calls: Sequence[ScriptCall[Any]]) -> list[Any]:
        """Runs them in one exchange; notes microseconds and inner commands of each."""
        commands, took = inner_commands(self.client), thread_s(self.client)
        replies = self.store.run_all(calls)
        took, commands = thread_s(self.client) - took, inner_commands(self.client) - commands
        samples.setdefault(name, []).append((took / len(calls) * 1e6, commands / len(calls)))
        return replies

    def round(self, samples: Samples, count: int, pieces: int, blobs: int = 0) -> None:
        """`count` jobs from their submission to a reading of their answer."""
        self.beat()
        kind = ", streamed" if pieces else f", {blobs} pictures" if blobs else ""
        placings = self.placings(count, blobs)
        self.timed(samples, f"submit{kind if blobs else ''}", self.submits(placings))
        views = [jobs.view(SETTINGS, placing.caller, placing.job) for placing in placings]
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
        pages = [
            jobs.jobs(SETTINGS, f"caller-{at % self._callers}", after=None, limit=PAGE) for at in range(5)
        ]
        self.timed(samples, f"page of {PAGE}", pages)
        again = [Placing(**{**vars(placing), "job": f"job_{secrets.token_hex(16)}"}) for placing in placings]
        self.timed(samples, "hit with a job", self.submits(again))
        # Every hit was a job in earlier commits.
        cached = getattr(admission, "cached", None)
        hits = (
            [cached(placing, SETTINGS, texts=False) for placing in again] if cached else self.submits(again)
        )
        self.timed(samples, "hit without a job", hits)


def thread_s(client: Any) -> float:
    usage = client.info("cpu")
    return float(usage["used_cpu_user_main_thread"] + usage["used_cpu_sys_main_thread"])


def inner_commands(client: Any) -> int:
    stats = client.info("commandstats")
    return sum(entry["calls"] for name, entry in stats.items() if name not in OUTER)


def served(measure: Callable[[Any], Any]) -> Any:
    with (
        redis_server("--appendfsync", "no") as server,
        Redis(port=server.port, decode_responses=True) as client,
    ):
        return measure(client)


def cost(client: Any) -> dict[str, tuple[float, float]]:
    """The best of some rounds: what else the machine does only adds."""
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


def depth(client: Any, callers: int) -> dict[str, tuple[float, float]]:
    """Submit, claim and settle with so many queued."""
    probe, found = Probe(client, callers), {}
    queued = 0
    probe.beat()
    for target in (1_000, 10_000, 100_000):
        while queued < target:
            probe.store.run_all(probe.submits(probe.placings(1000)))
            queued += 1000
        samples: Samples = {}
        for _ in range(12):
            probe.beat()
            probe.timed(samples, "submit", probe.submits(probe.placings(500)))
            taken = probe.timed(samples, "claim", probe.claims(500))
            probe.timed(samples, "settle", probe.settles(taken))
        best = [min(rounds) for rounds in samples.values()]
        found[f"{target} queued"] = (round(sum(us for us, _ in best), 1), round(sum(n for _, n in best), 1))
    return found


def memory(client: Any, ended: bool) -> dict[str, float]:
    """Bytes and keys that each job holds."""
    probe = Probe(client, callers=100)

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
    deep = "deep" in sys.argv
    result = {
        "cost": served(cost),
        "queued": served(lambda client: memory(client, ended=False)),
        "ended": served(lambda client: memory(client, ended=True)),
        "depth": {
            f"{callers} callers": served(partial(depth, callers=callers))
            for callers in ((1, 1000) if deep else ())
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
