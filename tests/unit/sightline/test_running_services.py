"""Which service a command talks to that names none: what runs here, and never another one in its place."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from shared.settings import CLIENT_URL, load_settings
from sightline.cli import main
from sightline.exits import CommandError, Exit
from sightline.running_services import RunningService, recorded, running_services
from sightline.service_client import LOCAL, service_url
from tests.support.ports import free_port

KILLED = """
import os, signal, sys
from pathlib import Path
from sightline.running_services import recorded

with recorded(sys.argv[1], Path("data"), print):
    os.kill(os.getpid(), signal.SIGKILL)
"""
Record = Callable[..., AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No service of the person who runs the tests is met."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(CLIENT_URL, raising=False)
    return tmp_path / "state"


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Records a service as if it was started in a folder."""

    @contextmanager
    def started(url: str, folder: str) -> Iterator[None]:
        (tmp_path / folder).mkdir(exist_ok=True)
        with ExitStack() as stack:
            with monkeypatch.context() as there:
                there.chdir(tmp_path / folder)
                stack.enter_context(recorded(url, tmp_path / folder / "data", pytest.fail))
            yield

    return started


def test_a_service_is_found_while_it_runs_and_forgotten_after_it(record: Record, state: Path) -> None:
    assert service_url() == LOCAL
    with record("http://127.0.0.1:8321", "a"):
        a = state.parent / "a"
        assert running_services() == [RunningService("http://127.0.0.1:8321", str(a / "data"), str(a))]
        assert service_url() == "http://127.0.0.1:8321"
        (folder,) = (state / "sightline/services").iterdir()
        assert folder.stat().st_mode & 0o77 == 0, "others could lead this user's key to themselves"
    assert service_url() == LOCAL


def test_a_killed_service_is_not_taken_for_a_running_one(state: Path) -> None:
    argv = [sys.executable, "-c", KILLED, "http://127.0.0.1:8321"]
    assert subprocess.run(argv).returncode < 0
    assert len(list(state.rglob("*.json"))) == 1
    assert service_url() == LOCAL


def test_of_several_services_that_of_this_folder_is_meant_and_elsewhere_none_is_guessed(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with record("http://127.0.0.1:8001", "a"), record("http://127.0.0.1:8002", "b"):
        monkeypatch.chdir(tmp_path / "b")
        assert service_url() == "http://127.0.0.1:8002"
        monkeypatch.chdir(tmp_path)
        with pytest.raises(CommandError, match=rf"8001 \(data in .*/a/data\).*8002.*{CLIENT_URL}") as caught:
            service_url()
        monkeypatch.chdir(tmp_path / "b")
        with (
            record("http://127.0.0.1:8003", "b"),
            pytest.raises(CommandError, match=r"8002.*8003.*--url") as several,
        ):
            service_url()
    assert caught.value.code is Exit.USAGE
    assert "8001" not in str(several.value)


def test_the_environment_names_the_service_and_an_argument_another_one(
    record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named, typed = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    monkeypatch.setenv(CLIENT_URL, named)
    with record("http://127.0.0.1:1", "a"):
        assert main(["jobs", "list"]) == Exit.UNREACHABLE
        assert main(["jobs", "list", "--url", typed]) == Exit.UNREACHABLE
        load_settings()
        monkeypatch.delenv(CLIENT_URL)
        assert main(["jobs", "list"]) == Exit.UNREACHABLE
    asked = capsys.readouterr().err.splitlines()
    assert [named in asked[0], typed in asked[1], "http://127.0.0.1:1" in asked[2]] == [True] * 3


def test_a_service_whose_home_cannot_be_written_serves_all_the_same(state: Path) -> None:
    state.write_text("a file")
    warnings: list[str] = []
    with recorded("http://127.0.0.1:8321", Path("data"), warnings.append):
        assert service_url() == LOCAL
    assert "need --url http://127.0.0.1:8321" in warnings[0]
