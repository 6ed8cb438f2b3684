"""`make run` in folders that are not new: what an earlier one left half done; which torch it installs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.service import ROOT

# Makes an environment of its kind, which says what it installs; the pip there names its folder.
PYTHON = """#!/bin/sh
case "$*" in
"-m venv"*)
  rm -rf .venv && mkdir -p .venv/bin && touch .venv/pyvenv.cfg && cp "$0" .venv/bin/python
  echo "#!$(pwd -P)/.venv/bin/python" > .venv/bin/pip
  printf '#!/bin/sh\necho "code of $(pwd -P)"\n' > .venv/bin/sightline
  chmod +x .venv/bin/* ;;
*" install "*) echo "installed, user $PIP_USER target $PIP_TARGET home $PYTHONHOME index $PIP_INDEX_URL" ;;
esac
"""
INSTALLED = "installed, user 0 target  home  index a mirror"


def make(folder: Path, *argv: str, **env: str) -> str:
    """What it says. A new folder gets what it installs from, of yesterday."""
    passed = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt"):
        if not (folder / name).exists():
            (folder / name).touch()
            os.utime(folder / name, (0, 0))
    # In a group of its own, which a test's Ctrl-C ends.
    done = subprocess.run(
        ["make", *argv],  # noqa: S607
        cwd=folder,
        env=passed | env,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with blanks in its name in which `make run` was typed before."""
    folder = tmp_path / "my checkout"
    folder.mkdir()
    python = tmp_path / "python3"
    python.write_text(PYTHON)
    python.chmod(0o755)
    own = {"PIP_USER": "1", "PIP_TARGET": "elsewhere", "PYTHONHOME": "elsewhere", "PIP_INDEX_URL": "a mirror"}
    assert INSTALLED in make(folder, "run", f"PYTHON={python}", **own), "settings of a person's own Python"
    return folder


def test_an_environment_whose_making_was_cut_off_is_made_anew(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout / ".venv")], check=True)
    make(checkout, f"PYTHON={checkout.with_name('python3')}", ".venv/pyvenv.cfg")
    assert (checkout / ".venv/bin/pip").exists()


def test_ctrl_c_leaves_an_environment_apart_from_the_python_it_is_made_with(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text(
        '#!/bin/sh\n[ "$2" != venv ] || { mkdir .venv; touch .venv/pyvenv.cfg; kill -INT 0; }\n'
    )
    python.chmod(0o755)
    with pytest.raises(AssertionError):
        make(tmp_path, "run", f"PYTHON={python}")
    assert (tmp_path / ".venv/pyvenv.cfg").exists()


def test_nothing_is_installed_into_the_python_an_environment_was_made_with(tmp_path: Path) -> None:
    """Without its file the environment's python is that one, and so is its pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv")], check=True)
    (tmp_path / ".venv/pyvenv.cfg").unlink()
    make(tmp_path, f"PYTHON={sys.executable}", ".venv/pyvenv.cfg")

    python = [str(tmp_path / ".venv/bin/python"), "-c", "import pip; print(pip.__file__)"]
    pip = subprocess.run(python, capture_output=True, text=True, check=True).stdout
    assert Path(pip).is_relative_to(tmp_path / ".venv")


# Whoever runs it has no torch; an index has no builds for CPUs where its word is in NONE.
PIP = """#!/bin/sh
case "$*" in
*" install "*vision*+cpu*--index-url*) echo "PyTorch's"; case "$NONE" in *PyTorch*) exit 1; esac ;;
*" install "*vision*+cpu*) echo "pip's"; case "$NONE" in *pip*) exit 1; esac ;;
*" install "*+cpu*) case "$NONE" in *all*) exit 1; esac; echo "torch alone" ;;
*" install "*) echo "the rest" ;;
"-c "*torch*) exit 1 ;;
esac
"""
WITHOUT_GPU = (
    sys.platform == "linux" and not Path("/proc/driver/nvidia").exists() and not shutil.which("nvidia-smi")
)


@pytest.mark.parametrize(
    ("none", "tried"),
    [
        ("", "pip's\nthe rest\n"),
        ("pip", "pip's\nPyTorch's\nthe rest\n"),
        (
            "pip PyTorch",
            "fetched from https://download.pytorch.org/whl/cpu\ntorch alone\n"
            "without torchvision some models do not load (docs/models.md)\nthe rest\n",
        ),
        (
            "pip PyTorch all",
            "pip's\nPyTorch's\ntorch and torchvision for CPUs could not be fetched from"
            " https://download.pytorch.org/whl/cpu\nthe usual torch may bring gigabytes of CUDA\nthe rest\n",
        ),
    ],
)
@pytest.mark.skipif(not WITHOUT_GPU, reason="a GPU is here, or no Linux")
def test_a_linux_machine_without_a_gpu_gets_no_cuda_where_an_index_has_a_build_for_cpus(
    checkout: Path, none: str, tried: str
) -> None:
    (checkout / ".venv/bin/python").write_text(PIP)
    (checkout / "constraints.txt").write_text("torch==2.13.0\ntorchvision==0.28.0\n")
    assert tried in make(checkout, "run", NONE=none)


def test_a_machine_with_a_gpu_takes_the_torch_of_pip_s_index(checkout: Path, tmp_path: Path) -> None:
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "nvidia-smi").symlink_to("/bin/true")
    (checkout / ".venv/bin/python").write_text(PIP)
    os.utime(checkout / "constraints.txt")
    said = make(checkout, "run", PATH=f"{driver}:{os.environ['PATH']}")
    assert "the rest" in said
    assert "pip's" not in said


def test_an_environment_that_works_is_kept_and_nothing_installed_again(checkout: Path) -> None:
    assert make(checkout, "run", "PYTHON=false") == f"code of {checkout}\n"


@pytest.mark.parametrize("how", [shutil.copytree, shutil.move])
def test_a_checkout_that_was_copied_or_moved_runs_its_own_code(
    checkout: Path, how: Callable[[Path, Path], object]
) -> None:
    other = checkout.with_name("another")
    how(checkout, other)
    said = make(other, "run", f"PYTHON={checkout.with_name('python3')}")
    assert "installed" in said
    assert said.endswith(f"code of {other}\n")


def test_an_environment_that_a_link_leads_to_is_used_and_never_emptied(checkout: Path) -> None:
    other = checkout.with_name("another")
    other.mkdir()
    (other / ".venv").symlink_to(checkout / ".venv")
    make(other, "run", f"PYTHON={checkout.with_name('python3')}")
    (checkout / ".venv/bin/python").unlink()
    with pytest.raises(AssertionError, match="is a link"):
        make(other, "run", f"PYTHON={checkout.with_name('python3')}")
    assert (checkout / ".venv/bin/sightline").exists()


def test_an_environment_whose_python_was_upgraded_away_is_made_anew(checkout: Path) -> None:
    python = checkout / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3.10")
    said = make(checkout, "run", f"PYTHON={checkout.with_name('python3')}")
    assert "installed" in said
    assert said.endswith(f"code of {checkout}\n")
