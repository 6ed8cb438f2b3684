"""docs/proof.md says what was measured, and nothing of it was written by hand."""

import json
from pathlib import Path

import pytest

from benchmarks.frame import report
from benchmarks.proof import PARTS, Part, page, read, run
from tests.support.snippets import ROOT

RESULTS = report.FOLDER / "proof"


def test_the_page_is_what_the_command_wrote() -> None:
    assert (ROOT / "docs/proof.md").read_text(encoding="utf-8") == page(*read(RESULTS))


def test_seven_figures_are_promised_and_each_that_was_taken_has_a_target() -> None:
    _, found = read(RESULTS)
    assert len({part.name for part in PARTS}) == 7
    assert found
    assert all(row["limits"] for row in found.values())


def test_a_missed_target_and_a_part_that_did_not_end_stand_on_the_page() -> None:
    summary, found = read(RESULTS)
    limit = {"name": "lost", "value": 1, "limit": 0, "unit": "jobs", "at_least": False, "met": False}
    missed = {"chaos": {**found["chaos"], "limits": [limit]}}
    ended = {part.name: {"took_s": 1.0, "exit": 3} for part in PARTS} | {"eta": {"took_s": 9.0, "exit": None}}
    text = page({**summary, "parts": ended}, missed)
    assert "| lost | 1 jobs | ≤ 0 | **missed** |" in text
    assert text.count("It did not finish: exit code 3.") == 5
    assert text.count("It did not finish: out of time.") == 1


@pytest.mark.parametrize(("code", "exit_"), [("", 0), ("raise SystemExit(1)", 1)])
def test_what_a_part_found_is_kept(
    code: str, exit_: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run(_part(tmp_path, code), tmp_path, 60, quick=False)["exit"] == exit_
    assert json.loads((tmp_path / "made.json").read_text()) == {}


def test_a_part_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    endless = _part(tmp_path, "import signal; signal.pause()", writes=False)
    assert run(endless, tmp_path, 0.5, quick=False)["exit"] is None
    assert not (tmp_path / "made.json").exists()


def _part(folder: Path, code: str, *, writes: bool = True) -> Part:
    """A benchmark of a few lines, which stands on the path."""
    write = "import sys; open(sys.argv[-1] + '/made.json', 'w').write('{}')\n" if writes else ""
    (folder / "made.py").write_text(write + code)
    return Part("made", "made", ("made",), (), "".format)
