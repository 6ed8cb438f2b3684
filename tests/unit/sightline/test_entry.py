"""What a person or script is left with where the surroundings fail: a sentence and a code, no traceback."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.service import ROOT
from tests.support.typed import helps

PRESSED = """
import runpy, signal, sys

class CtrlC:
    def find_spec(self, name, *_):
        if name == "sightline.cli":
            signal.raise_signal(signal.SIGINT)

# A shell has its background jobs ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, CtrlC())
runpy.run_module("sightline", run_name="__main__")
"""
STOPPED = """
import runpy, signal, sys

told, at, sys.argv = signal.Signals(int(sys.argv[1])), sys.argv[2], sys.argv[3:]

class Told:
    def find_spec(self, name, *_):
        if name == at:
            signal.raise_signal(told)

# Also where the tests themselves run under nohup or in the background of a shell.
signal.signal(told, signal.SIG_DFL)
sys.meta_path.insert(0, Told())
runpy.run_module(sys.argv[0], run_name="__main__")
"""
BECOMING = """
import os, signal, sys

from sightline.entry import main

become = os.execve

def told(*program):
    # As the new program begins: without the handler of the old one.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    become(*program)

os.execve = told
sys.exit(main())
"""
FULL = Path("/dev/full")
WRONG = {"SIGHTLINE_QUEUE__LEASE_S": "soon"}
"""With it the doctor says one thing at once, and ends with 1."""


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of which the doctor loads nothing on trial."""
    models = tmp_path / "models.toml"
    models.write_text('[[models]]\nid = "org/m"\nengine = "echo"\n', encoding="utf-8")
    monkeypatch.setenv("SIGHTLINE_MODELS_FILE", str(models))


def typed(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """By a shell, whose redirections are what is tried."""
    line = f"{sys.executable} -m sightline {command}"
    argv = ["sh", "-c", line]
    return subprocess.run(argv, cwd=ROOT, env=os.environ | env, capture_output=True, text=True)


def test_ctrl_c_while_the_commands_are_still_read_leaves_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", PRESSED], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"sightline": "sightline.entry:main"}


@pytest.mark.parametrize(
    ("told", "reads", "argv"),
    [
        (signal.SIGTERM, "sightline.cli", ("sightline", "courier")),
        (signal.SIGINT, "sightline.cli", ("sightline", "courier")),
        (signal.SIGHUP, "celery", ("worker",)),
        (signal.SIGTERM, "celery", ("worker",)),
    ],
)
def test_a_worker_or_courier_that_is_stopped_while_it_starts_is_no_failure_to_its_supervisor(
    told: signal.Signals, reads: str, argv: tuple[str, ...]
) -> None:
    command = [sys.executable, "-c", STOPPED, str(int(told)), reads, *argv]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("command", ["worker", "courier"])
def test_a_worker_or_courier_that_is_stopped_between_its_two_programs_is_no_failure_either(
    command: str, tmp_path: Path
) -> None:
    env = {"SIGHTLINE_REDIS__URL": "redis://127.0.0.1:1/0", "SIGHTLINE_BLOBS__URL": str(tmp_path / "blobs")}
    argv = [sys.executable, "-c", BECOMING, command]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is full")
def test_a_full_disk_is_one_sentence() -> None:
    done = typed(f"doctor > {FULL}", **WRONG)
    assert (done.returncode, done.stderr) == (2, "sightline: Standard output: No space left on device.\n")


def test_output_that_is_closed_leaves_the_exit_code_as_it_is() -> None:
    for closed in (">&-", ">&- 2>&-"):
        done = typed(f"jobs list --url nonsense {closed}")
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert typed(f"doctor {closed}", **WRONG).returncode == 1


def test_a_terminal_of_few_letters_shows_the_rest_all_the_same() -> None:
    done = typed("doctor", PYTHONIOENCODING="ascii", **WRONG)
    assert (done.returncode, "  ? " in done.stdout) == (1, True), done.stderr
    assert all(text.isascii() for text in helps()), "typer writes UTF-8 to such a terminal"


def test_a_script_loses_no_letter_where_its_output_has_few() -> None:
    code = "from sightline.terminal import show_json; show_json('naïve 🙂')"
    argv, env = [sys.executable, "-c", code], os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.stdout == '"na\\u00efve \\ud83d\\ude42"\n', done.stderr
