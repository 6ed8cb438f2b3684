"""`make check` fails for a package with a known hole, and not for a database that is out of reach."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import vulnerabilities
from tests.support.vulnerabilities import main

HOLE = {"id": "PYSEC-1", "fix_versions": ["2.1"], "description": "It lets them in."}


def saying(folder: Path, *rows: dict[str, Any]) -> tuple[str, ...]:
    """A stand-in for pip-audit: whatever it is asked it says this, and fails where there is a hole."""
    told = json.dumps({"dependencies": rows})
    script = folder / "audit.py"
    script.write_text(f"print({told!r})\nraise SystemExit({int('PYSEC' in told)})\n", encoding="utf-8")
    return (sys.executable, str(script))


def test_a_known_hole_fails_the_check_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound: dict[str, Any] = {"name": "one", "version": "2.0", "vulns": []}
    broken = sound | {"name": "two"}
    assert main(saying(tmp_path, sound, broken)) == 0
    assert main(saying(tmp_path, sound, broken | {"vulns": [HOLE]})) == 1
    assert capsys.readouterr().out == "two 2.0: PYSEC-1, mended in 2.1\n"


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit('no network')",
        "print('<html>')",
        "print('{}')",
        """print('{"dependencies": [{"name": "pip", "skip_reason": "not found"}]}')""",
        "import signal; signal.pause()",
    ],
)
def test_a_database_out_of_reach_is_said_and_neither_fails_anything_nor_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(vulnerabilities, "LIMIT_S", 0.2 if "pause" in code else 60)
    script = tmp_path / "audit.py"
    script.write_text(code, encoding="utf-8")
    assert main((sys.executable, str(script))) == 0
    assert "not looked up" in capsys.readouterr().out
