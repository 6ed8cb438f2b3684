"""`sightline api`, `worker` and `courier` become the process they name, or say in one sentence why not."""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from redis import Redis

from sightline.cli import main
from sightline.exits import Exit
from tests.support.packages import without_traces
from tests.support.redis_server import cluster, redis_server

MODELS = """
[[models]]
id = "org/first"
engine = "echo"
rows = 3

[[models]]
id = "org/second"
engine = "echo"
"""


class BecameError(Exception):
    """Stands for the process that is no more."""

    def __init__(self, program: str, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
        super().__init__(argv)
        self.program, self.argv, self.env = program, argv, env


@pytest.fixture(autouse=True)
def _no_exec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    def execve(*given: Any) -> NoReturn:
        raise BecameError(*given)

    monkeypatch.setattr(os, "execve", execve)
    models = tmp_path / "models.toml"
    models.write_text(MODELS, encoding="utf-8")
    monkeypatch.setenv("SIGHTLINE_MODELS_FILE", str(models))
    monkeypatch.setenv("SIGHTLINE_BLOBS__URL", str(tmp_path / "blobs"))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    # A process that is about to become another holds back what would stop it; the tests go on in this one.
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def became(*argv: str) -> BecameError:
    with pytest.raises(BecameError) as caught:
        main(argv)
    assert caught.value.program == sys.executable
    assert caught.value.argv[:3] == (sys.executable, "-P", "-m")
    return caught.value


def test_an_api_listens_where_it_is_told() -> None:
    argv = became("api", "--host", "::", "--port", "8080").argv
    assert argv[3] == "uvicorn"
    assert argv[argv.index("--factory") + 1] == "api.app:create_app"
    assert argv[argv.index("--host") + 1 : argv.index("--port") + 2] == ("::", "--port", "8080")
    # Balancers keep a connection for 60 s: they must be the first to close it.
    assert int(argv[argv.index("--timeout-keep-alive") + 1]) > 60


def test_an_api_has_as_many_connections_as_its_service_manager_grants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """systemd starts what it starts with 1024, and lets it raise that."""
    raised: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda *said: raised.append(said))
    became("api")
    assert raised == [(resource.RLIMIT_NOFILE, (4096, 4096))]


def test_a_worker_takes_the_line_of_the_model_it_is_given_or_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIGHTLINE_WORKER__THREADS", "4")
    process = became("worker")
    assert process.argv[process.argv.index("-Q") + 1] == "model.org--first"
    assert process.argv[process.argv.index("-c") + 1] == "5"
    assert process.env["SIGHTLINE_WORKER__MODEL"] == "org/first"
    assert process.env["OMP_NUM_THREADS"] == "4"
    monkeypatch.setenv("SIGHTLINE_WORKER__MODEL", "org/second")
    argv = became("worker").argv
    assert argv[argv.index("-Q") + 1] == "model.org--second"


@pytest.mark.parametrize("own", ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX"])
def test_whoever_has_settings_for_memory_of_their_own_keeps_them(
    monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    monkeypatch.setenv(own, "1")
    assert became("worker").env.get("GLIBC_TUNABLES", "1") == "1"


def test_a_courier_takes_the_line_of_remote_pictures() -> None:
    argv = became("courier").argv
    assert argv[argv.index("-A") + 1] == "worker.courier"
    assert argv[argv.index("-Q") + 1] == "intake"


@pytest.mark.parametrize(
    ("command", "name", "value", "code"),
    [
        ("worker", "MODELS_FILE", "/no/models.toml", Exit.USAGE),
        ("api", "MODELS_FILE", "/no/models.toml", Exit.USAGE),
        ("api", "REDIS__URL", "nonsense", Exit.USAGE),
        ("courier", "LOG_LEVEL", "loud", Exit.USAGE),
        *(
            (command, "BLOBS__URL", f"{__file__}/blobs", Exit.DATA)
            for command in ("api", "worker", "courier")
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(
    command: str,
    name: str,
    value: str,
    code: Exit,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"SIGHTLINE_{name}", value)
    assert main([command]) == code
    said = capsys.readouterr().err
    assert said.startswith("sightline: ")
    assert (said.count("\n"), name in said or code is Exit.USAGE) == (1, True)


Refused = Callable[[str, str], str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Each kind of process at that record store says one sentence, with those words; all that they say."""

    def ended(url: str, words: str) -> str:
        monkeypatch.setenv("SIGHTLINE_REDIS__URL", url)
        assert [main([command]) for command in ("api", "worker", "courier")] == [Exit.REDIS] * 3
        said = capsys.readouterr().err
        assert (said.count("\n"), said.count(words)) == (3, 3)
        return said

    return ended


def test_a_cluster_is_one_sentence_and_no_process_that_dies_of_it(refused: Refused) -> None:
    with cluster() as server:
        refused(server.url(), "a cluster, which is not supported.\n")


def test_a_server_without_functions_is_one_sentence_and_no_process_that_dies_of_it(refused: Refused) -> None:
    with redis_server("--rename-command", "FCALL", "") as server:
        refused(server.url(), "has no Redis Functions")


def test_too_few_rights_and_another_layout_are_one_sentence_each_and_no_process_that_dies(
    refused: Refused,
) -> None:
    with redis_server() as server, Redis(port=server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "weak", "on", ">secret", "~*", "+@all", "-hgetall")
        weak = f"redis://weak:secret@127.0.0.1:{server.port}/0"
        assert "hgetall" in refused(weak, "give it the rights that docs/transport.md lists.\n")
        admin.sadd("sl2:lanes", "model.m")
        refused(server.url(), "records of layout 2 (sl2:")


@pytest.mark.parametrize("command", ["api", "worker", "courier", "run"])
def test_traces_without_their_packages_are_one_sentence_and_no_process_that_dies(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_traces(monkeypatch)
    assert main([command]) == Exit.USAGE
    said = capsys.readouterr().err
    assert (said.count("\n"), "-e '.[traces]'" in said) == (1, True)


def test_a_model_that_may_have_been_added_is_looked_up_and_an_outage_is_no_wrong_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGHTLINE_WORKER__MODEL", "org/third")
    monkeypatch.setenv("SIGHTLINE_REDIS__URL", "redis://127.0.0.1:1/0")
    assert main(["worker"]) == Exit.REDIS
    assert "No models file has this model" in capsys.readouterr().err
