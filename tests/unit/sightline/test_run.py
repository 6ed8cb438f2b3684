"""`sightline run`: what is checked before anything is started, and what a person is told."""

import asyncio
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from shared.models import Model, Models
from shared.settings import Settings
from shared.store.server import Server
from sightline.cli import main
from sightline.exits import CommandError, Exit
from sightline.serving import run as module
from sightline.serving.devices import Devices
from sightline.serving.folder import DataFolder
from sightline.serving.plan import Plan
from sightline.serving.run import Runner, check_server, until_stopped
from tests.support.ports import free_port
from tests.support.redis_server import redis_server

ECHO = Model(id="org/m", engine="echo")


def test_taken_port_is_found_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code = main(["run", "--port", str(port), "--data", str(tmp_path / "data")])

    assert code == Exit.PORT
    assert capsys.readouterr().err.startswith(
        f"sightline: Port {port} cannot be used: Address already in use;"
    )
    assert not (tmp_path / "data").exists()


def test_an_engine_without_a_model_is_refused_rather_than_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--engine", "vllm"]) == Exit.USAGE
    assert "--engine is for a MODEL" in capsys.readouterr().err


def test_a_model_that_is_nothing_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["run", "no-such-model", "--port", str(free_port()), "--data", str(tmp_path)])
    assert code == Exit.USAGE
    assert "no-such-model is no id of the models file, no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "words", "code"),
    [
        ("REDIS__URI", "redis://h", "is not a setting; did you mean SIGHTLINE_REDIS__URL?", Exit.USAGE),
        ("MODELS_FILE", "/no/models.toml", "models file /no/models.toml", Exit.USAGE),
        (
            "REDIS__URL",
            "redis://:hidden@127.0.0.1:1/0",
            "The server named by SIGHTLINE_REDIS__URL does not answer",
            Exit.REDIS,
        ),
    ],
)
def test_a_setting_that_cannot_be_right_stops_the_start_with_its_name(
    name: str,
    value: str,
    words: str,
    code: Exit,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"SIGHTLINE_{name}", value)
    assert main(["run", "--port", str(free_port()), "--data", str(tmp_path)]) == code
    said = capsys.readouterr()
    assert words in said.err
    assert "hidden" not in said.out + said.err


async def test_a_service_that_nohup_started_outlives_the_log_out(capsys: pytest.CaptureFixture[str]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    lived = asyncio.Event()

    async def serve(_: object) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(9):  # what a signal wakes comes some turns later
            await asyncio.sleep(0)
        lived.set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    await asyncio.wait_for(until_stopped(serve), 60)

    assert lived.is_set()
    assert capsys.readouterr().out == "stopping\n"


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "٣"])
def test_impossible_port_is_refused_by_name(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"--port={text}"]) == Exit.USAGE

    assert "Invalid value for '--port'" in capsys.readouterr().err


GOOD = Server("Redis", "7.0", (7, 0), True, "noeviction", False, False)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (replace(GOOD, compatible=(6, 2)), "older than 7.0"),
        (replace(GOOD, cluster=True), "a cluster, which is not supported"),
        (replace(GOOD, replica=True), "a replica, which takes no jobs: name the primary server"),
    ],
)
def test_server_that_cannot_hold_the_queue_is_refused(given: Server, reason: str) -> None:
    with pytest.raises(CommandError, match=reason) as caught:
        check_server(given)

    assert caught.value.code is Exit.REDIS


def test_only_a_server_that_may_lose_jobs_is_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    check_server(GOOD)
    assert capsys.readouterr().out == ""
    check_server(replace(GOOD, keeps=False, policy="allkeys-lru"))
    lines = capsys.readouterr().out.splitlines()
    assert ["appendonly yes" in lines[0], "noeviction" in lines[1]] == [True, True]


async def test_a_start_says_once_what_it_waits_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection and a late reply are not worth a line."""
    monkeypatch.setattr(module, "POLL_S", 0)
    refused = httpx.Response(503, json={"error": "The record store takes no writes now; try again."})
    replies: list[Any] = [httpx.ConnectError("refused"), refused, refused, httpx.ReadTimeout("late"), refused]
    rest = iter([*replies, httpx.Response(200, text="{}")])
    calm: Any = SimpleNamespace(check=lambda: None, failed=None, rests=True, resident=[])
    runner = Runner(Settings(), Models((ECHO,)), DataFolder(tmp_path), 8000, 0, Devices())

    def answer(_: httpx.Request) -> Any:
        reply = next(rest)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async with httpx.AsyncClient(base_url="http://s", transport=httpx.MockTransport(answer)) as client:
        await runner.until_ready(calm, calm, client)

    assert capsys.readouterr().out == "waiting  The record store takes no writes now; try again.\n"


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (httpx.Response(200, json=[{"generated_text": "A red circle."}]), "A red circle."),
        (httpx.Response(503, json={"error": "Model org/m is loading."}), "none: Model org/m is loading."),
        (httpx.Response(200, text="hello"), "none: JSONDecodeError"),
    ],
)
async def test_a_start_shows_an_answer_or_why_there_is_none(
    reply: httpx.Response, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = httpx.MockTransport(lambda _: reply)
    async with httpx.AsyncClient(base_url="http://service", transport=transport) as client:
        await module.ask(client, ECHO, "http://127.0.0.1:8000")
    assert f"\nanswer    {shown}" in capsys.readouterr().out


def test_a_given_server_that_takes_no_writes_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with redis_server() as server:
        monkeypatch.setenv("SIGHTLINE_REDIS__URL", server.url())
        with server.refusing_writes():
            assert main(["run", "--port", str(free_port()), "--data", str(tmp_path)]) == Exit.REDIS
    assert capsys.readouterr().err.startswith("sightline: The service cannot be started. The record store")


def test_every_process_learns_where_records_models_and_pictures_are(tmp_path: Path) -> None:
    plan = Plan(Settings(), "redis://:s@127.0.0.1:7000/0", DataFolder(tmp_path), 8000)
    worker = plan.worker(Model(id="org/m", engine="echo", rows=8), 1, {})

    for command in (plan.api(), worker, plan.courier()):
        assert command.env["SIGHTLINE_REDIS__URL"] == "redis://:s@127.0.0.1:7000/0"
        assert command.env["SIGHTLINE_BLOBS__URL"] == str(tmp_path / "blobs")
        assert Path(command.env["SIGHTLINE_MODELS_FILE"]).is_absolute()
        assert not any("7000" in word for word in command.argv)
    assert worker.env["SIGHTLINE_WORKER__MODEL"] == "org/m"
    assert worker.argv[worker.argv.index("-c") + 1] == "10"
    assert worker.argv[worker.argv.index("-Q") + 1] == "model.org--m"


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "ask",
        "doctor",
        "api",
        "worker",
        "courier",
        "jobs follow",
        "models drain",
    ],
)
def test_help_of_a_command_teaches_by_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == Exit.OK
    said = capsys.readouterr().out
    assert "examples:\n    " in said
    assert f"sightline {command}" in said.partition("examples:")[2]
    assert "Exit codes" in said


def test_help_lists_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == Exit.OK

    text = capsys.readouterr().out
    assert all(f"\n    {code:d}  " in text for code in (*Exit, 130, 141))
