"""`sightline models list`: how each model stands."""

from typing import Any

import pytest

from sightline.models import residency, show_fleet


@pytest.mark.parametrize(
    ("state", "since", "estimated_time", "reason", "words"),
    [
        ("resident", 1_760_000_000, 0.0, None, "resident (since 2025-10-09 08:53:20Z)"),
        ("loading", 1_760_000_000, 8.0, None, "loading (since 2025-10-09 08:53:20Z, about 8.0s)"),
        ("cold", None, 12.0, "room for org/b", "cold (about 12s, room for org/b)"),
        ("failed", None, 30.0, "no memory", "failed"),
        ("no_worker", None, 30.0, None, "no_worker"),
    ],
)
def test_an_operator_reads_whether_a_model_is_loaded_and_why_not(
    state: str, since: float | None, estimated_time: float, reason: str | None, words: str
) -> None:
    row = {"state": state, "since": since, "estimated_time": estimated_time, "reason": reason}
    assert residency(row) == words


def test_why_a_model_cannot_be_loaded_stands_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    why = "no weights " * 20
    residency = {"state": "failed", "since": None, "estimated_time": 30.0, "reason": why}
    told: dict[str, Any] = dict.fromkeys(("paused", "draining", "drained"), False)
    row = {"model": "org/m", "state": "failed", "reason": why, "queued": {}, "running": 0, "workers": []}
    show_fleet({"models": [row | told | {"residency": residency}]})
    *table, line = capsys.readouterr().out.splitlines()
    assert max(map(len, table)) < 60
    assert line == f"org/m cannot be loaded: {why}"
