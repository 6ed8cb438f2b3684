"""The front stays light: no torch, little memory, nothing big on the broker or in the records."""

import base64
import os
from pathlib import Path

import psutil
from redis import Redis

from shared.blobs import digest
from shared.settings import RedisSettings
from tests.support.clients import Api, until
from tests.support.pictures import RGB, png
from tests.support.service import COURIER, Service

UNSERVED = "test/unserved"


def test_api_processes_stay_small_also_when_they_have_answered(service: Service, api: Api) -> None:
    assert api.get("/openapi.json").status_code == 200
    for name in ("api", COURIER):
        process = psutil.Process(service.processes[name].pid)
        # Other tests may have sent it large pictures before; with torch it would be twice that.
        assert process.memory_info().rss < 160 * 2**20
        assert "torch" not in maps(process.pid)


def maps(pid: int) -> str:
    """The libraries a process has loaded, where the system tells."""
    path = Path(f"/proc/{pid}/maps")
    return path.read_text() if path.exists() else ""


def test_a_large_picture_weighs_nothing_on_the_broker_nor_in_the_records(service: Service, api: Api) -> None:
    side = 1830
    noise = png((side, side), b"".join(b"\0" + os.urandom(3 * side) for _ in range(side)), colour=RGB)
    assert len(noise) > 10_000_000
    picture = base64.b64encode(noise).decode()
    with Redis.from_url(service.redis.url()) as records:
        before = records.info("memory")["used_memory"]
        job = api.submit(model=UNSERVED, input={"prompt": "x", "image": picture})
        assert records.info("memory")["used_memory"] - before < len(noise) / 2
    lane = service.models.resolve(UNSERVED).lane
    with Redis.from_url(RedisSettings(url=service.redis.url()).broker_url) as broker:
        # Sent behind the answer.
        nudges = until(lambda: broker.lrange(lane, 0, -1))
    assert max(map(len, nudges)) <= 2048
    blob = service.folder / "blobs" / digest(noise)[:2] / digest(noise)
    assert blob.read_bytes() == noise
    assert api.delete(f"/v1/jobs/{job}").status_code == 204
    assert not blob.exists(), "a purged job's picture is still there"
