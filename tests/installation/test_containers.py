"""Images as containers run them, without Docker: their code in a folder of its own, and no other."""

import base64
import json
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.support.clients import Api, until
from tests.support.containers import Dockerfile
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.redis_server import redis_server
from tests.support.service import ROOT, START_S

DOCKERFILE = Dockerfile(ROOT / "Dockerfile")
PLACE = re.compile(r"^/opt/sightline|^/var/lib|^/tmp")


class Image:
    """The packages are those of the interpreter that runs the tests, more than the image has."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder
        self._code = folder / "code"
        self._copy()
        packages = folder / "packages"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", packages], check=True)
        (named,) = packages.glob("lib/python*/site-packages")
        # The packages' own `.pth` files are not read this way: one of those would lead to this checkout.
        (named / "packages.pth").write_text("\n".join(site.getsitepackages()))
        self._python = packages / "bin" / "python"

    def process(self, *argv: str, env: Mapping[str, str]) -> Process:
        """Its own command, or as in an engine these words in its place; not yet started."""
        _, *entry = json.loads(DOCKERFILE.last(self._name, "ENTRYPOINT"))
        command = argv or json.loads(DOCKERFILE.last(self._name, "CMD"))
        log = self._folder / "log"
        return Process((str(self._python), *entry, *command), self._env() | dict(env), log, self._code)

    def _copy(self) -> None:
        for word, rest in DOCKERFILE.lineage(self._name):
            if word == "COPY" and not rest.startswith("--from="):
                *sources, target = rest.split()
                for source in sources:
                    whole, to = ROOT / source, self._code / target
                    if whole.is_dir():
                        shutil.copytree(whole, to, ignore=shutil.ignore_patterns("__pycache__"))
                    else:
                        shutil.copy(whole, to)

    def _env(self) -> dict[str, str]:
        """Its own, in folders below this one."""
        places = {
            "/opt/sightline": str(self._code),
            "/var/lib": f"{self._folder}/var",
            "/tmp": str(self._folder),  # noqa: S108
        }
        env = DOCKERFILE.env(self._name) | {"PATH": f"{self._python.parent}:/usr/bin:/bin"}
        return {name: PLACE.sub(lambda found: places[found[0]], value) for name, value in env.items()}


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
