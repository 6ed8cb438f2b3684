"""What the runbook tells people to type on a bad day, with real servers, and what callers see of it."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis

from shared import ids
from tests.support.clients import Api, until
from tests.support.load import MODEL, Load, submit
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, redis_server
from tests.support.service import COURIER, ROOT, Service, ending
from tests.support.snippets import FENCE

PAGE = ROOT / "docs/runbook.md"
LIMIT_S = 150
MODELS = f'[[models]]\nid = "{MODEL}"\nengine = "echo"\nrows = 4\n'
ALL = ("api", COURIER, MODEL)
pytestmark = pytest.mark.timeout(4 * LIMIT_S)


def typed(title: str, folder: Path, replaced: dict[str, str], port: int = 0) -> str:
    """What the block of a section prints, with this test's ports and folders in it."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")
    ((_, code),) = FENCE.findall(next(part for part in sections if part.startswith(f"{title}\n")))
    for name, value in replaced.items():
        code = code.replace(name, value)
    command = folder / "redis-cli"
    command.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m tests.support.redis_cli "$@"\n', encoding="utf-8"
    )
    command.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],  # noqa: S607
        cwd=ROOT,
        env={**os.environ, "PATH": path, "REDISCLI_AUTH": "", "REDIS_PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def hosts(old: RedisServer, new: RedisServer) -> dict[str, str]:
    ports = {"OLD": old.port, "NEW": new.port}
    asked = {f"-h ${name}": f"-p {port}" for name, port in ports.items()}
    return asked | {f"${name} 6379": f"127.0.0.1 {port}" for name, port in ports.items()}


@contextmanager
def serving(folder: Path, redis: RedisServer) -> Iterator[tuple[Service, Api]]:
    """All processes over a record store, with their pictures in the folder."""
    service = Service(folder, redis, MODELS, {"SIGHTLINE_QUEUE__DRAIN_S": "1"})
    with ending(service):
        service.ready(*ALL)
        with Api(service.url()) as api:
            yield service, api


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607


def test_a_move_to_another_server_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    with redis_server() as old, redis_server() as new:
        with serving(tmp_path, old) as (_, api), Load(api) as load:
            typed("Move to another server", tmp_path, hosts(old, new))
            until(lambda: submit(api, "refused").json().get("code") == "store_unavailable")
        with serving(tmp_path, new) as (_, api):
            for job, text in load.accepted:
                assert api.ended(job)["result"]["text"] == text
                assert submit(api, text).json()["id"] == job


def test_who_asks_a_promoted_replica_again_for_what_it_never_had_is_answered(tmp_path: Path) -> None:
    with redis_server() as old, redis_server("--replicaof", f"127.0.0.1 {old.port}") as new:
        with serving(tmp_path, old) as (_, api), Redis(port=new.port) as behind:
            until(lambda: behind.info("replication").get("master_link_status") == "up")
            kept = submit(api, "kept").json()["id"]
            with Redis(port=old.port) as primary:
                until(lambda: primary.wait(1, 1000) == 1)
            behind.replicaof("127.0.0.1", free_port())
            lost = submit(api, "lost").json()["id"]
            old.kill()
        typed("Promote a replica", tmp_path, hosts(old, new))
        with serving(tmp_path, new) as (_, api):
            assert api.ended(kept)["result"]["text"] == "kept"
            gone = api.get(f"/v1/jobs/{lost}")
            assert (gone.status_code, gone.json()["code"]) == (404, "job_not_found")
            assert api.ended(submit(api, "lost").json()["id"])["result"]["text"] == "lost"
        old.start()


@pytest.mark.parametrize("which", ["redis", "blobs"])
def test_a_full_disk_refuses_for_as_long_as_it_is_full_and_ends_no_process(
    tmp_path: Path, which: str
) -> None:
    ballast = tmp_path / which / "ballast"
    folders = {"/var/lib/redis": f"{tmp_path}/redis", "/var/lib/sightline": str(tmp_path)}
    with (
        small_disk(ballast.parent),
        disk_server(tmp_path / "redis") as redis,
        serving(tmp_path, redis) as (service, api),
    ):
        accepted = [asked(api, which, "before").json()["id"]]
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}"], stderr=subprocess.DEVNULL)  # noqa: S607
        until(lambda: asked(api, which, ids.token()).json().get("code") == "store_unavailable")
        shown = typed("A full disk", tmp_path, folders, redis.port)
        said = "read_only" if which == "redis" else "reachable"
        until(lambda: api.get("/health").json()["store"] == said)
        assert ("aof_last_write_status:err" in shown) == (which == "redis")
        assert "100%" in shown
        if which == "blobs":
            accepted.append(submit(api, "text goes on").json()["id"])
        ballast.unlink()
        accepted.append(until(lambda: asked(api, which, "after").json().get("id")))
        assert {api.ended(job)["status"] for job in accepted} == {"succeeded"}
        assert all(service.processes[name].alive for name in ALL)


@contextmanager
def disk_server(folder: Path) -> Iterator[RedisServer]:
    folder.mkdir(exist_ok=True)
    server = RedisServer(folder, free_port())
    try:
        yield server
    finally:
        server.stop()


def asked(api: Api, which: str, text: str) -> httpx.Response:
    """Where the disk has the pictures, with one of its own."""
    data = (ROOT / "examples/sample.png").read_bytes() + text.encode()
    return submit(api, text, **({"image": base64.b64encode(data).decode()} if which == "blobs" else {}))


def test_jobs_end_though_the_broker_is_emptied_under_them(tmp_path: Path) -> None:
    with redis_server() as redis, serving(tmp_path, redis) as (_, api), Load(api) as load:
        typed("An emptied broker", tmp_path, {}, redis.port)
        for job, text in load.accepted:
            assert api.ended(job)["result"]["text"] == text
