"""The limit of one record store: jobs put through it as fast as it goes."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from benchmarks import server
from benchmarks.fleet.load import Way
from benchmarks.fleet.usage import Usage
from benchmarks.processes import ROOT
from shared.store.script import connect


@dataclass(frozen=True)
class Milled:
    """`redis` is the share of a core that the server used, `full_per_s` the rate of a whole core."""

    way: str
    mills: int
    jobs_per_s: float
    redis: float
    full_per_s: float
    redis_us_per_job: float


def measure(way: Way, seconds: float) -> Milled:
    """One mill for each core that the record server leaves, and two at least."""
    mills = max(2, (os.cpu_count() or 2) - 1)
    with server.opened() as redis:
        env = dict(os.environ) | {"SIGHTLINE_REDIS__URL": redis.url.get_secret_value()}
        running = [
            subprocess.Popen(  # noqa: S603
                (sys.executable, "-m", "benchmarks.fleet.mill", way.name, f"{seconds:g}", str(number)),
                cwd=ROOT,
                env=env,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(mills)
        ]
        try:
            for process in running:
                _line(process)
            usage = Usage(connect(redis).client)
            told = [json.loads(_line(process)) for process in running]
            spent = usage.since()
        finally:
            for process in running:
                process.kill()
                process.communicate()
    per_s = sum(row["jobs"] / row["seconds"] for row in told)
    return Milled(
        way=way.name,
        mills=mills,
        jobs_per_s=round(per_s, 1),
        redis=round(spent.redis, 4),
        full_per_s=round(per_s / spent.redis, 1),
        redis_us_per_job=round(spent.redis / per_s * 1e6, 1),
    )


def _line(process: subprocess.Popen[str]) -> str:
    """The next one. Raises CalledProcessError where it ended without."""
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise subprocess.CalledProcessError(process.wait(), process.args)
    return line
