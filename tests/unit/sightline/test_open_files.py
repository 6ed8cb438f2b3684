"""The service may have as many connections as the system grants, whatever it grants at first."""

import resource
from pathlib import Path

import pytest

from sightline.cli import main
from sightline.exits import Exit
from sightline.serving.processes import ENOUGH_FILES, allow_files
from tests.support.ports import free_port

NONE = resource.RLIM_INFINITY


@pytest.fixture
def grants(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[int, int]]:
    """The limits of this process, soft and hard, which the test sets."""
    limits = {resource.RLIMIT_NOFILE: (256, 4096), resource.RLIMIT_AS: (NONE, NONE)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    return limits


@pytest.mark.parametrize(
    ("soft", "hard", "allowed"),
    [
        (256, NONE, ENOUGH_FILES),
        (1024, 524_288, ENOUGH_FILES),
        (256, 4096, 4096),
        (64, 64, 64),
        (65_536, 524_288, ENOUGH_FILES),
        (NONE, NONE, ENOUGH_FILES),
    ],
)
def test_callers_are_not_turned_away_at_a_limit_that_each_program_may_raise(
    soft: int, hard: int, allowed: int, grants: dict[int, tuple[int, int]]
) -> None:
    grants[resource.RLIMIT_NOFILE] = soft, hard
    assert allow_files() == allowed
    assert grants[resource.RLIMIT_NOFILE] == (soft if soft in (NONE, 65_536) else allowed, hard)


@pytest.mark.parametrize(("hard", "warned"), [(64, True), (4096, False)])
def test_a_start_with_too_few_open_files_says_so(
    hard: int,
    warned: bool,
    grants: dict[int, tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    grants[resource.RLIMIT_NOFILE] = 64, hard
    monkeypatch.setenv("SIGHTLINE_REDIS__URL", "redis://127.0.0.1:1/0")

    assert main(["run", "--port", str(free_port()), "--data", str(tmp_path)]) == Exit.REDIS

    assert ("warning  64 open files" in capsys.readouterr().out) == warned
    assert grants[resource.RLIMIT_NOFILE] == (hard, hard)
