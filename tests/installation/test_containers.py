"""Images as containers run them, without Docker: their code in a folder of its own, and no other."""

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.support.clients import Api, until
from tests.support.image_folders import Image
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.redis_server import redis_server
from tests.support.service import ROOT, START_S


@pytest.fixture(params=[(), ("node",)], ids=["pod", "compose"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    """What the three images answer together, the worker's with either of its commands."""
    port = free_port()
    argv = {
        "api": ("api", "--host", "127.0.0.1", "--port", str(port)),
        "courier": (),
        "worker": request.param,
    }
    processes: list[Process] = []
    with redis_server() as redis, Api(f"http://127.0.0.1:{port}") as api:
        env = {
            "SIGHTLINE_REDIS__URL": redis.url(),
            "SIGHTLINE_BLOBS__URL": str(tmp_path / "blobs"),
            "SIGHTLINE_PICTURES__DECODE_LIMIT_S": "60",
            "OMP_NUM_THREADS": "1",
        }
        try:
            for name, words in argv.items():
                processes.append(Image(name, tmp_path / name).process(*words, env=env))
                processes[-1].start()
            until(lambda: _ready(api, processes), START_S)
            yield api
        finally:
            for process in processes:
                print(process.log.read_text(errors="replace")[-4000:])
                process.end()


def _ready(api: Api, processes: list[Process]) -> bool:
    assert all(process.alive for process in processes), "a container ended"
    with suppress(httpx.TransportError):
        return api.get("/ready").status_code == 200
    return False


def test_a_picture_and_a_format_are_answered_by_what_the_images_hold(api: Api) -> None:
    """Both are tried in processes of their own, which begin with less than a worker does."""
    picture = base64.b64encode((ROOT / "examples/sample.png").read_bytes()).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "text", "text": "How many circles are there?"},
    ]
    form = {"type": "object", "properties": {"count": {"enum": [1, 2, 3, 4]}}, "required": ["count"]}
    body = {
        "model": "sightline/tiny",
        "messages": [{"role": "user", "content": parts}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "count", "schema": form}},
    }
    # A node may not have loaded it yet.
    reply = api.post("/v1/chat/completions", json=body, headers={"x-wait-for-model": "true"})
    assert reply.status_code == 200, reply.text
    assert json.loads(reply.json()["choices"][0]["message"]["content"])["count"] in {1, 2, 3, 4}
