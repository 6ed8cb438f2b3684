"""One service for all tools, and an environment of its own for each of them.

They take gigabytes and minutes, so `make test` leaves them out; `make test-tools` runs them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.documents import frames
from tests.support.service import COURIER, ROOT, TINY_ROW, Service, running_service

TINY, ECHO = "sightline/tiny", "test/echo"
MODELS = f"""{TINY_ROW}
[[models]]
id = "{ECHO}"
engine = "echo"
rows = 4
max_new_tokens = 1000
"""
ENVIRONMENTS = ROOT / "data/tools"
TORCH = next(
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line.startswith("torch==")
)
# Nothing but the service is asked: neither a hub nor whoever counts the tool's users.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "OPENAI_API_KEY": "any",
    "CURATOR_VIEWER": "0",
    "TELEMETRY_ENABLED": "false",
    "DATACHAIN_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    "NO_COLOR": "1",
}
RUN_S = 600

Tool = Callable[..., str]


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with running_service(MODELS, {"SIGHTLINE_FETCH__ALLOW": "127.0.0.1"}) as service:
        service.ready("api", COURIER, ECHO, TINY)
        yield service


@pytest.fixture
def url(service: Service) -> str:
    return service.url()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "examples/sample.png", tmp_path / "page.png"))


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A PDF of two pages."""
    path = tmp_path / "two.pdf"
    path.write_bytes(frames("PDF", ("red", "blue"), (600, 800)))
    return path


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """Run a command of an environment that has the requirements; what it printed."""

    def run(requirements: str, *command: str, **env: str) -> str:
        bin = installed(requirements)
        done = subprocess.run(
            [str(bin / command[0]), *command[1:]],
            cwd=tmp_path,
            env=os.environ | OFFLINE | env | {"PATH": f"{bin}:{os.environ['PATH']}", "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    return run


def installed(requirements: str) -> Path:
    """The programs of an environment with these requirements, made where there is none."""
    name = hashlib.sha256(requirements.encode()).hexdigest()[:12]
    folder = ENVIRONMENTS / f"{requirements.split('=')[0].split('[')[0]}-{name}"
    stamp = folder / "installed"
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "-q"]
        # Theirs are the versions of everything but torch, whose CUDA builds are gigabytes.
        (folder / "torch.txt").write_text(TORCH, encoding="utf-8")
        subprocess.run([*pip, "install", "-c", str(folder / "torch.txt"), *requirements.split()], check=True)
        # Of the index's torchvision one is built for another torch: without it transformers does without it.
        subprocess.run([*pip, "uninstall", "-y", "torchvision"], check=True)
        stamp.touch()
    return folder / "bin"
