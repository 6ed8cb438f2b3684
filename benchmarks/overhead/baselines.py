"""The baselines: a bare Celery worker (`app`) and a bare FastAPI application (`web`), as their manuals begin.

The task's first act is to read the clock; then it publishes that. Each route is one Redis command.
"""

import os
import time
import uuid

from celery import Celery
from fastapi import FastAPI, Request, Response
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from benchmarks.overhead.services import BARE_CHANNEL, BARE_QUEUE, BARE_TASK

app = Celery("bare", broker=os.environ["BENCH_BROKER"])
app.conf.task_ignore_result = True
app.conf.task_default_queue = BARE_QUEUE
_redis = Redis.from_url(os.environ["BENCH_BROKER"])
_async_redis: AsyncRedis = AsyncRedis.from_url(os.environ["BENCH_REDIS"])
web = FastAPI()


@app.task(name=BARE_TASK)  # type: ignore[untyped-decorator]
def started() -> None:
    at = time.monotonic_ns()
    _redis.publish(BARE_CHANNEL, at)


@web.get("/answers/{name}")
async def answer(name: str) -> Response:
    return Response(await _async_redis.get(name), media_type="application/json")


@web.post("/records")
async def record(request: Request) -> Response:
    name = uuid.uuid4().hex
    await _async_redis.set(name, await request.body())
    return Response(b'{"id": "' + name.encode() + b'"}', 202, media_type="application/json")
