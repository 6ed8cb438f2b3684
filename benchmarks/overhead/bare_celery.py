"""The baseline of the latency figures: Celery as in the beginning of its manual, one task, no result.

The body's first act is to read the clock; then it tells the benchmark.
"""

import os
import time

from celery import Celery
from redis import Redis

from benchmarks.overhead.questions import BARE_CHANNEL, BARE_QUEUE, BARE_TASK

app = Celery("bare", broker=os.environ["BENCH_BROKER"])
app.conf.task_ignore_result = True
app.conf.task_default_queue = BARE_QUEUE
_redis = Redis.from_url(os.environ["BENCH_BROKER"])


@app.task(name=BARE_TASK)  # type: ignore[untyped-decorator]
def started() -> None:
    at = time.monotonic_ns()
    _redis.publish(BARE_CHANNEL, at)
