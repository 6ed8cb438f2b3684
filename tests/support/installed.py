"""The package as pip installs it: built here, in an environment that does not see this checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.service import ROOT

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation")


def build(folder: Path) -> tuple[Path, Path]:
    """Wheel and source archive of this checkout, made in that folder."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True)
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


def wheel_of(archive: Path, folder: Path) -> Path:
    """The wheel that pip builds of a source archive."""
    subprocess.run([*PIP, "wheel", *OFFLINE, "-w", folder, archive], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def checksums(wheel: Path) -> dict[str, int]:
    """Every file with the checksum of its contents."""
    with zipfile.ZipFile(wheel) as files:
        return {file.filename: file.CRC for file in files.infolist()}


class Installation:
    """A wheel in a new environment, beside the packages of the one that runs the tests."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.bin = folder / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        before = set(packages.iterdir())
        into = ("--python", str(self.bin / "python"), "install", "--no-index", "--no-deps")
        subprocess.run([*PIP, *into, str(wheel)], check=True)
        self.added = {path.name for path in set(packages.iterdir()) - before}
        # Only now, or pip would find us there. Its own `.pth` files, one of which leads here, are not read.
        beside = (path for path in sys.path if path.endswith("site-packages"))
        (packages / "beside.pth").write_text("\n".join(beside))
        foreign = ("SIGHTLINE_", "PYTHON", "PYTEST")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.env["XDG_STATE_HOME"] = str(folder / "state")

    def output(self, program: str, *argv: str, cwd: Path) -> str:
        """What a program of its `bin` prints; the test fails where the program does."""
        command = (str(self.bin / program), *argv)
        done = subprocess.run(command, cwd=cwd, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def service(self, folder: Path) -> tuple[Process, str]:
        """`sightline run` in a folder, not yet started, and its address."""
        port = free_port()
        command = (str(self.bin / "sightline"), "run", "--port", str(port))
        process = Process(command, self.env, folder.with_suffix(".log"), folder)
        return process, f"http://127.0.0.1:{port}"
