"""`make containers` says what it lacks: that is all of it that every machine can test."""

from pathlib import Path

import pytest

from tests.containers import engine
from tests.containers.__main__ import main


def put(folder: Path, *commands: str, works: bool = True) -> None:
    for command in commands:
        program = folder / command
        program.write_text(f"#!/bin/sh\nexit {int(not works)}\n", encoding="utf-8")
        program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where commands are found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in engine.FOR_BUILDING:
        monkeypatch.setenv(f"COMPOSE_SIGHTLINE_{name}", "given")
    return tmp_path


def test_a_machine_without_an_engine_is_told_so_and_nothing_fails(
    programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(programs, "docker", works=False)
    assert main() == 0
    assert capsys.readouterr().out == "--- skipped: neither docker nor podman answers here\n"


def test_the_trial_is_a_project_of_its_own_with_secrets_of_its_own(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The containers of who works here go on, and their keys stay theirs."""
    monkeypatch.setenv("SIGHTLINE_API__ADMIN_KEY", "mine")
    put(programs, "docker")
    (programs / "docker").write_text('#!/bin/sh\necho "$SIGHTLINE_API__ADMIN_KEY $*"\n', encoding="utf-8")
    tried = engine.found()
    key, words = tried.call("compose", "up").split(maxsplit=1)
    assert (len(key), words) == (64, "compose up\n")
    assert "-p sightline-trial " in tried.call(*tried.compose_words[1:], "up")
