"""`python -m benchmarks.soak`: six minutes later (more where other work runs) results/soak.json and soak.svg.

20,000 jobs with lives of some seconds, in three legs. After each leg nothing is submitted until everything
that can expire has expired: the rest has leaked. Exits with 1 where anything has, or memory grows.
"""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from benchmarks import findings, server
from benchmarks.soak import census, drawing
from benchmarks.soak.traffic import LANE, Traffic
from shared.blobs import Blobs
from shared.settings import BlobSettings, QueueSettings, RedisSettings, RetentionSettings, Settings
from shared.store.keys import INTAKE
from shared.store.nudges import Nudger
from shared.store.script import Store, connect
from worker.maintenance.leader import MaintenanceLeader

JOBS, PER_S, SEED = 20_000, 150, 1
GROWTH_LIMIT = 1.05
SAMPLE_S, UPKEEP_S, BEAT_S = 1.0, 0.25, 0.3
LEGS = 3
RUN_OUT_LIMIT_S = 90
"""Longer than any record lives here: the longest is a claim's token, with a minute."""
IDLE_S = 0.005
JOB_S = 8


class Soak:
    """The periodic steps, each at its own pace, and the samples taken."""

    def __init__(self, redis: RedisSettings, folder: Path, seed: int) -> None:
        self.settings = Settings(
            redis=redis,
            queue=QueueSettings(lease_s=1, renew_s=0.3, rescue_s=UPKEEP_S, backoff_s=0.1, worker_ttl_s=3),
            retention=RetentionSettings(result_s=4, job_s=JOB_S, idempotency_s=3, event_s=6),
            blobs=BlobSettings(url=str(folder)),
        )
        self.store: Store = connect(redis)
        self.samples: list[census.Sample] = []
        self.ebbs: list[census.Sample] = []
        self.mended = 0
        self.submitted = 0
        self.traffic = Traffic(self.store, self.settings, seed)
        self._broker = Redis.from_url(redis.broker_url)
        blobs = Blobs(self.settings.blobs)
        self._upkeep = MaintenanceLeader(self.settings, self.store, Nudger(redis), blobs, "courier")
        self._began = time.monotonic()
        self._due = dict.fromkeys((SAMPLE_S, UPKEEP_S, BEAT_S), self._began)

    def step(self) -> None:
        """Whatever is due of beats, maintenance and samples, and a look for work."""
        if self._is_due(BEAT_S):
            self.traffic.beat()
        if self._is_due(UPKEEP_S):
            self.mended += self._upkeep.run_once()["mended"]
            # No Celery takes the nudges here.
            self._broker.delete(LANE, INTAKE)
        if self._is_due(SAMPLE_S):
            at_s = time.monotonic() - self._began
            self.samples.append(census.take(self.store.client, at_s, self.submitted))
        self.traffic.work()

    def leg(self, jobs: int, per_s: int) -> dict[str, int]:
        """Submit so many, and let everything run out; the keys that are left and should not be, by kind."""
        for _ in self._paced(jobs, per_s):
            self.traffic.submit()
            self.traffic.meddle()
            self.submitted += 1
            self.step()
        deadline = time.monotonic() + RUN_OUT_LIMIT_S
        while (left := census.left_over(self.samples[-1])) and time.monotonic() < deadline:
            self.step()
            time.sleep(IDLE_S)
        self.ebbs.append(self.samples[-1])
        return left

    def _is_due(self, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._due[every_s]:
            return False
        self._due[every_s] = now + every_s
        return True

    def _paced(self, count: int, per_s: int) -> Iterator[None]:
        """Paces a loop; time lost to other processes is not made up for by a burst."""
        due = time.monotonic()
        for _ in range(count):
            time.sleep(max(due - time.monotonic(), 0))
            yield
            due = max(due + 1 / per_s, time.monotonic() - 1 / per_s)


def main() -> int:
    arguments = findings.arguments(
        "soak", __doc__, jobs=(JOBS, "jobs in all"), pace=(PER_S, "jobs a second"), seed=(SEED, "of the dice")
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with server.opened() as redis, TemporaryDirectory(prefix="sightline-bench-") as folder:
        soak = Soak(redis, Path(folder), arguments.seed)
        measured = findings.origin(soak.store.client) | {
            "jobs": arguments.jobs,
            "at_most_per_s": arguments.pace,
        }
        left = [soak.leg(arguments.jobs // LEGS, arguments.pace) for _ in range(LEGS)]
    measured |= _figures(soak, left)
    bounds = _bounds(measured)
    measured["limits"] = findings.listed(bounds)
    print(findings.table(bounds))
    print(f"left over after each leg: {left}")
    for path in findings.write(arguments.out, "soak", measured, drawing.drawn(soak.samples)):
        print(f"wrote {path.name}")
    return 0 if all(b.met for b in bounds) else 1


def _figures(soak: Soak, left: list[dict[str, int]]) -> dict[str, Any]:
    highest = max(soak.samples, key=lambda sample: sample.used_bytes)
    return {
        "took_s": round(soak.samples[-1].at_s),
        "happened": dict(sorted(soak.traffic.happened.items())),
        "mended_by_audit": soak.mended,
        "after_each_leg": [_row(sample) | {"by_kind": sample.keys} for sample in soak.ebbs],
        "highest": _row(highest) | {"by_kind": highest.keys},
        "keys_of_a_job": [round(x, 2) for x in census.keys_of_a_job(soak.samples, JOB_S, LEGS)],
        "series": [_row(sample) for sample in soak.samples[:: len(soak.samples) // 40 + 1]],
        "left_over": left,
    }


def _row(sample: census.Sample) -> dict[str, float]:
    keys = sum(sample.keys.values())
    return {
        "at_s": sample.at_s,
        "jobs": sample.submitted,
        "used_mb": round(sample.used_bytes / 1e6, 2),
        "keys": keys,
        "keys_but_claims": keys - sample.keys.get("claim", 0),
    }


def _bounds(measured: dict[str, Any]) -> list[findings.Bound]:
    _, second, third = measured["after_each_leg"]
    _, under_second, under_third = measured["keys_of_a_job"]
    return [
        findings.Bound(
            "memory after leg 3 over leg 2", third["used_mb"] / second["used_mb"], GROWTH_LIMIT, ""
        ),
        findings.Bound(
            "keys for a job, leg 3 over leg 2", under_third / max(under_second, 0.01), GROWTH_LIMIT, ""
        ),
        findings.Bound("keys left over", sum(sum(x.values()) for x in measured["left_over"]), 0, "keys"),
        findings.Bound("mended by the audit", measured["mended_by_audit"], 0, ""),
    ]


if __name__ == "__main__":
    sys.exit(main())
