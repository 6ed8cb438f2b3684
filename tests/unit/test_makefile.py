"""`make run` in folders that are not new: what an earlier one left half done, and a second service."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.service import ROOT


def make(folder: Path, *argv: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    done = subprocess.run(["make", *argv], cwd=folder, env=env, capture_output=True, text=True)  # noqa: S607
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_environment_whose_making_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    half = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv")]
    subprocess.run(half, check=True)
    make(tmp_path, f"PYTHON={sys.executable}", ".venv/.made")

    pip = [str(tmp_path / ".venv/bin/python"), "-m", "pip", "--version"]
    assert subprocess.run(pip, capture_output=True).returncode == 0


def test_an_environment_that_works_is_kept(tmp_path: Path) -> None:
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    make(tmp_path, "PYTHON=false", ".venv/.made")

    assert python.read_text() == "#!/bin/sh\n"


def test_a_second_service_can_be_given_a_folder_of_its_own(tmp_path: Path) -> None:
    assert "sightline run --port 8080 --data 'my data'" in make(
        tmp_path, "-n", "run", "PORT=8080", "DATA=my data"
    )
