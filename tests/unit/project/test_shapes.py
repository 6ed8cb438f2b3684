"""Records are a promise: what changes in them is named, numbered and told."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shared.store.keys import PREFIX
from tests.support.functions import sources
from tests.support.shapes import FILE, named

ROOT = Path(__file__).parents[3]
COMMIT = (ROOT / "tests/data/former_release.txt").read_text(encoding="utf-8").strip()
"""The release before this one."""
LAYOUT, SHAPES = named(FILE.read_text(encoding="utf-8"))
LOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def untold(before: dict[str, Any], now: dict[str, Any], changelog: str) -> list[str]:
    """Shapes that changed without a higher version, or of which the changelog has no line."""
    lines = []
    for name, shape in now.items():
        former = before.get(name, {"version": 0})
        changed = {**shape, "version": 0} != {**former, "version": 0}
        if shape["version"] != former["version"] + changed:
            lines.append(f"{name} has version {shape['version']}")
        if changed and f"`{name}` {shape['version']}:" not in changelog:
            lines.append(f"the changelog has no line that begins: `{name}` {shape['version']}:")
    return lines


def test_whoever_updates_reads_what_changed_in_the_records() -> None:
    found = subprocess.run(
        ["git", "show", f"{COMMIT}:{FILE.relative_to(ROOT)}"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        pytest.skip(f"{COMMIT[:8]}, the release before, named no shapes, or is not in the history here")
    layout, before = named(found.stdout)
    assert layout != PREFIX or untold(before, SHAPES, LOG) == []


@pytest.mark.parametrize(
    ("version", "fields", "line", "wrong"),
    [
        (1, ["a"], "", 0),
        (2, ["a", "b"], "- `job_ID` 2: b.", 0),
        (1, ["a", "b"], "- `job_ID` 1: b.", 1),
        (2, ["a", "b"], "", 1),
        (2, ["a"], "", 1),
    ],
)
def test_a_shape_that_changed_has_a_higher_version_and_a_line(
    version: int, fields: list[str], line: str, wrong: int
) -> None:
    before = {"job_ID": {"version": 1, "type": "hash", "fields": ["a"]}}
    assert (
        len(untold(before, {"job_ID": before["job_ID"] | {"version": version, "fields": fields}}, line))
        == wrong
    )


def test_no_shape_names_what_nothing_writes() -> None:
    assert LAYOUT == PREFIX
    code = sources() + "".join(
        path.read_text(encoding="utf-8")
        for room in ("shared", "worker")
        for path in (ROOT / room).rglob("*.py")
    )
    words = set(re.findall(r"\w+", code)) | set(re.findall(r'"([a-z]+)_"', code))  # "wh_": an id's prefix
    parts = {re.split(r"[*:]|[_-]ID", name)[0] for name in SHAPES}
    fields = {part for shape in SHAPES.values() for part in shape.get("fields", ())}
    # Named after stages, marks, kinds of tokens and codes of errors.
    counted = {part for part in fields if part.endswith(("_tokens", "_failures", "_message", "_at", "_by"))}
    assert (parts | fields) - counted - words == set()
