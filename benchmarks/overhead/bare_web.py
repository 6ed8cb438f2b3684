"""The baseline of the request rates: FastAPI, one Redis command a request, nothing else."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from redis.asyncio import Redis

_redis: Redis = Redis.from_url(os.environ["BENCH_REDIS"])


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await _redis.aclose()


app = FastAPI(lifespan=_lifespan)


@app.get("/answers/{name}")
async def answer(name: str) -> Response:
    return Response(await _redis.get(name), media_type="application/json")


@app.post("/records")
async def record(request: Request) -> Response:
    name = uuid.uuid4().hex
    await _redis.set(name, await request.body())
    return Response(b'{"id": "' + name.encode() + b'"}', 202, media_type="application/json")
