"""Installed by pip, anywhere: one package that needs no checkout and is in nobody's way."""

import base64
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from zipfile import ZipFile

import httpx
import pytest

from shared import VERSION
from tests.support.clients import until
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


READY_S = 120
QUESTION = "Where is the circle?"
PICTURE = str(ROOT / "examples/sample.png")
# Names of ours, and of packages that our processes import while the working folder may be in their way.
TAKEN = ("api", "shared", "worker", "redis", "PIL", "llguidance")
LOOK = """
import sys
before = list(sys.path)
import sightline
print(sys.path == before, {"api", "shared", "worker"} & sys.modules.keys())
"""
LINK = re.compile(r"\]\(([^)#]+)")

pytestmark = pytest.mark.timeout(3 * READY_S)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(built[0], tmp_path_factory.mktemp("environment"))


@contextmanager
def served(installed: Installation, folder: Path) -> Iterator[tuple[str, str]]:
    """What `sightline run` in that folder prints until it serves, and its address; stopped at the end."""
    process, url = installed.service(folder)

    def printed() -> str | Literal[False]:
        said = process.log.read_text(encoding="utf-8")
        assert process.alive, said
        return "serving on" in said and said

    process.start()
    try:
        yield until(printed, READY_S), url
        process.terminate()
        assert process.wait() == 0
    finally:
        process.end()


def ask(url: str, model: str, **more: Any) -> str:
    """The answer to a question about a picture, by OpenAI's route."""
    picture = base64.b64encode(Path(PICTURE).read_bytes()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "text", "text": QUESTION},
    ]
    body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
    reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=READY_S).json()
    return str(reply["choices"][0]["message"]["content"])


def test_an_installation_adds_one_name_beside_the_code_of_others(installed: Installation) -> None:
    assert installed.added == {"sightline", f"sightline_vlm-{VERSION}.dist-info"}


def test_a_program_that_imports_us_goes_on_finding_its_own_packages(
    installed: Installation, tmp_path: Path
) -> None:
    assert installed.output("python", "-c", LOOK, cwd=tmp_path) == "True set()\n"


def test_the_source_archive_builds_the_same_package(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, archive = built
    assert checksums(wheel_of(archive, tmp_path)) == checksums(wheel)


def test_the_links_and_pictures_of_the_package_page_lead_to_the_files_they_name(
    built: tuple[Path, Path],
) -> None:
    with ZipFile(built[0]) as files:
        page = files.read(f"sightline_vlm-{VERSION}.dist-info/METADATA").decode()
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    pages = f"{urls['Source']}/blob/HEAD/"
    raw = pages.replace("//github.com/", "//raw.githubusercontent.com/").replace("/blob/", "/")
    # What README names in full is of other sites, or a badge.
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ours = [link for link in LINK.findall(page) if link not in readme]
    assert f"{raw}docs/request.svg" in ours
    for link in (*ours, urls["Documentation"], urls["Changelog"]):
        assert link.startswith((pages, raw))
        assert (ROOT / link.removeprefix(pages).removeprefix(raw)).is_file()


def test_a_report_of_a_fault_can_name_the_versions(installed: Installation, tmp_path: Path) -> None:
    said = installed.output("sightline", "--version", cwd=tmp_path).splitlines()
    assert said[0] == f"sightline {VERSION}"
    assert {f"torch {version('torch')}", f"transformers {version('transformers')}"} < set(said)


def test_an_empty_folder_is_enough_for_a_true_answer(installed: Installation, tmp_path: Path) -> None:
    """The page, the model, its picture, the store's scripts and both kinds of sandboxes come along."""
    folder = tmp_path / "empty"
    folder.mkdir()
    with served(installed, folder) as (said, url):
        assert re.search(r"models +\S+/sightline/service/models.toml \(shipped", said)
        assert re.search(r"answer +.*red circle", said)
        asked = ("ask", QUESTION, PICTURE, "--url", url)
        assert "left" in installed.output("sightline", *asked, cwd=folder).lower()
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": ["left", "right"]}}}
        assert json.loads(ask(url, "sightline/tiny", response_format=form)) in ("left", "right")
        assert httpx.get(url).status_code == httpx.codes.OK
    assert {path.name for path in folder.iterdir()} == {"data"}


def test_a_folder_with_packages_of_the_same_names_is_served_as_well(
    installed: Installation, tmp_path: Path
) -> None:
    folder = tmp_path / "taken"
    for name in TAKEN:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise SystemExit('the {name} of this folder')\n")
    (folder / "models.toml").write_text('[[models]]\nid = "my/echo"\nengine = "echo"\n')
    with served(installed, folder) as (said, url):
        assert "models   models.toml\n" in said
        assert QUESTION in ask(url, "my/echo")
        asked = ("ask", QUESTION, PICTURE, "--url", url)
        assert QUESTION in installed.output("sightline", *asked, cwd=folder)
