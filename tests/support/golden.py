"""Golden wire bodies in tests/data. To record one anew, delete the file and run its test twice."""

import json
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parent.parent / "data"


def assert_golden(name: str, value: Any) -> None:
    """The value, written as JSON, is the recorded one."""
    path = DATA / f"{name}.json"
    if not path.exists():
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        pytest.fail(f"{path.name} was missing and is now recorded: read it, then run again")
    assert json.loads(json.dumps(value, allow_nan=False)) == json.loads(path.read_text(encoding="utf-8"))
