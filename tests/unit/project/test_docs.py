"""The pages tell the truth about this tree: what is generated is up to date, what is named is there."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from api.dialects.unknown_fields import SPELLINGS
from api.server.errors import OWN
from docs.generate.pages import pages as generated
from shared import VERSION
from shared.models_file import load_models
from shared.settings import CLIENT_KEY, CLIENT_URL, Settings, known_names
from sightline.exits import Exit
from tests.support.functions import functions
from tests.support.snippets import BY_HAND, DATA, FENCE, KINDS, ROOT, Snippet, pages, snippets
from worker.celery_app import Exit as WorkerExit


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


GENERATED = generated()
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PLACE = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
EDGE = re.compile(r"^    \S+ --> \S+: (.+)$", re.MULTILINE)
MODULE = re.compile(r"\.venv/bin/python -m ([\w.]+)")
PROGRAM = re.compile(r"\.venv/bin/([\w-]+)")
OF_TESTS = re.compile(r"\btests/[\w/.]+")
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
FILE = re.compile(r"[a-z][\w.-]*/[\w./-]+\.(?:py|lua|toml|json|svg|png|txt)")
VARIABLE = re.compile(r"SIGHTLINE_[A-Z_]+")
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
FENCE_LINE = re.compile(r"^[ \t>]*(?:```|~~~)", re.MULTILINE)
BIN = Path(sys.executable).parent
# What puts work into another state, in the functions' own lines.
TRANSITION = re.compile(
    r"\b(?:begin_work|enqueue|requeue|stand|end_run|fail_work|fail_too_late|leave)\(|'state', 'running'"
)


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_a_generated_page_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == GENERATED[path], "run: python -m docs.generate"


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_block_of_a_page_is_seen_and_checked_in_some_way(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert {kind.strip() for kind, _ in FENCE.findall(text)} <= set(KINDS)
    assert len(FENCE_LINE.findall(text)) == 2 * len(FENCE.findall(text)), "fences stand at the line's start"


@pytest.mark.parametrize("snippet", list(snippets(*BY_HAND, "sh")), ids=str)
def test_what_a_page_tells_people_to_type_exists(snippet: Snippet) -> None:
    code = "\n".join(snippet.commands)
    _succeeds("bash", "-n", "-c", code)
    for command in (c for c in snippet.commands if c.startswith("make ")):
        _succeeds("make", "-n", *shlex.split(command, comments=True)[1:])
    for module in MODULE.findall(code):
        # Setuptools' own finder would warn of pip where some test has imported distutils before.
        assert importlib.util.find_spec(module) if "." in module else PathFinder.find_spec(module)
    for program in PROGRAM.findall(code):
        assert (BIN / program).exists()
    for path in OF_TESTS.findall(code):
        assert (ROOT / path).exists()


def test_the_newest_release_of_the_changelog_and_the_images_of_the_manifests_are_of_this_version() -> None:
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[([\d.]+)\] - 20\d\d-\d\d-\d\d$", log, re.MULTILINE)[0] == VERSION
    manifests = [file.read_text(encoding="utf-8") for file in (ROOT / "deploy").rglob("kustomization.yaml")]
    assert {tag for text in manifests for tag in re.findall(r'newTag: "(.*)"', text)} == {VERSION}


def test_pip_is_given_the_versions_that_the_project_names() -> None:
    (torch,) = re.findall(r"^torch==[\d.]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (vllm,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["vllm"]
    assert set(re.findall(r"\btorch==[\d.]+", (ROOT / "README.md").read_text())) <= {torch}
    assert re.findall(r"pip install '(vllm.*)'", (ROOT / "docs/vllm.md").read_text()) == [vllm]


@pytest.mark.parametrize("snippet", list(snippets(*DATA)), ids=str)
def test_a_file_that_a_page_shows_can_be_read(snippet: Snippet) -> None:
    if snippet.kind == "toml":
        assert tomllib.loads(snippet.code)
    elif snippet.kind == "json":
        assert json.loads(snippet.code)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd on this machine")
def test_systemd_reads_every_line_of_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "sightline@node.service"
    shutil.copy(ROOT / "deploy/systemd/sightline@.service", unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],  # noqa: S607
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert str(unit) not in done.stderr
    assert done.returncode == 0, done.stderr


def test_the_files_for_systemd_name_settings_and_rights_that_exist() -> None:
    folder = ROOT / "deploy/systemd"
    rows = [row for file in folder.glob("*.env") for row in file.read_text(encoding="utf-8").splitlines()]
    names = {row.partition("=")[0] for row in rows if row.startswith("SIGHTLINE_")}
    assert names <= known_names()
    assert load_models(folder / "models.toml").rows
    (user,) = re.findall(r"^# (user .*)$", (folder / "redis.conf").read_text(encoding="utf-8"), re.MULTILINE)
    assert (
        user.replace("change-worker", "change-me-2")
        in (ROOT / "examples/redis/users.acl").read_text(encoding="utf-8").splitlines()
    )


def test_a_second_back_up_of_one_machine_is_neither_lost_nor_hidden_in_the_first(tmp_path: Path) -> None:
    (shown,) = (s for s in snippets("sh by-hand") if "cp -a data/. " in s.code)
    back_ups = tmp_path / "backup"
    back_ups.mkdir()
    (tmp_path / "data").mkdir()
    for made, moment in enumerate(("2026-01-31-0400", "2026-02-01-0400", "2026-02-01-0400"), 1):
        (tmp_path / "data/records").write_text(str(made), encoding="utf-8")
        script = f"date() {{ echo {moment}; }}\n" + shown.code.replace("/backup", str(back_ups))
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)  # noqa: S607
        assert (done.returncode == 0) == (made < 3), "a name that is taken is said"
    kept = {path.relative_to(back_ups): path.read_text() for path in back_ups.rglob("records")}
    assert kept == {
        Path("sightline-2026-01-31-0400/records"): "1",
        Path("sightline-2026-02-01-0400/records"): "2",
    }


def test_the_table_of_exit_codes_names_every_code_of_a_process() -> None:
    text = (ROOT / "docs/fleet.md").read_text(encoding="utf-8")
    table = text.partition("## Exit codes")[2].partition("\n## ")[0]
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert told == {0, 1, *WorkerExit, Exit.USAGE, Exit.PORT, Exit.REDIS, Exit.DATA, Exit.MEMORY}


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_what_a_page_names_in_passing_is_there(page: Path) -> None:
    spans = SPAN.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    targets = {span.split()[1] for span in spans if span.startswith("make ")}
    files = [span for span in spans if FILE.fullmatch(span)]

    assert targets <= set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    assert [f for f in files if not (ROOT / f).exists() and not (page.parent / f).exists()] == []
    assert {span for span in spans if VARIABLE.fullmatch(span)} <= known_names() | {CLIENT_KEY, CLIENT_URL}


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_link_of_a_page_leads_to_a_page_or_the_part_of_it_that_is_named(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in LINK.findall(text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    places = PLACE.findall(text)
    inner = [(page.parent / link if link else page, part) for link, part in places if "://" not in link]
    assert [(page.name, part) for page, part in inner if part not in _parts(page)] == []


def test_a_page_names_every_spelling_and_one_every_path_whose_errors_are_our_own() -> None:
    named = set(SPAN.findall((ROOT / "docs/parameters.md").read_text(encoding="utf-8")))
    assert SPELLINGS.keys() - named == set()
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert [name for name in OWN if f"`/v1/{name}`" not in page] == []


@pytest.mark.parametrize("index", [ROOT / "docs/README.md", ROOT / "docs/decisions/README.md"], ids=str)
def test_an_index_names_every_page_of_its_folder(index: Path) -> None:
    named = {(index.parent / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}
    assert set(index.parent.glob("*.md")) - {index} - named == set()


def test_the_pictures_of_a_life_name_every_function_that_moves_work() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    drawn = {name for edge in EDGE.findall(text) for name in edge.split(", ")}
    moving = {name for name, function in functions().items() if TRANSITION.search(function.own)}

    assert drawn == moving


def _parts(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _succeeds(program: str, *arguments: str) -> None:
    argv = [str(shutil.which(program)), *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_lines_for_nginx_let_pass_whatever_the_service_takes(tmp_path: Path) -> None:
    (code,) = (s.code for s in snippets("text") if "proxy_pass" in s.code)
    api = Settings().api
    said = {
        words[0]: words[-1] for words in (line.strip(" ;").split() for line in code.splitlines()) if words
    }
    assert int(said["client_max_body_size"].removesuffix("m")) > max(api.body_mb, api.file_limit_mb)
    assert int(said["proxy_read_timeout"].removesuffix("s")) > max(api.sync_limit_s, 2 * api.keepalive_s)
    if nginx := shutil.which("nginx"):
        whole = tmp_path / "nginx.conf"
        files = f"pid {tmp_path}/pid; error_log stderr;"
        whole.write_text(f"{files}\nevents {{}}\nhttp {{ access_log off;\n{code}}}\n", encoding="utf-8")
        _succeeds(nginx, "-t", "-c", str(whole))
