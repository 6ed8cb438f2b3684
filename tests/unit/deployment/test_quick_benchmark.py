"""`make bench` names what fell: a ratchet that lets a fall pass unnoticed holds nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import quick

MACHINE = {"cpu": "one", "cores": 2}
ABOUT = {"date": "2026-01-02T03:04:05+00:00", "commit": "0123abcd", "machine": MACHINE}


def figure(ratio: float, name: str = "hit_chat") -> quick.Figure:
    return quick.Figure(name, "bare_get_chat", "requests/s", 100.0, 400.0, ratio, ratio, ratio)


def committed(*figures: quick.Figure, folder: Path) -> dict[str, Any]:
    quick.save(folder / "quick.json", ABOUT, figures)
    whole: dict[str, Any] = json.loads((folder / "quick.json").read_text())
    return whole


@pytest.mark.parametrize(
    ("now", "remark"), [(0.172, "fell by 14 %: explain or mend"), (0.181, ""), (0.3, "")]
)
def test_a_ratio_that_fell_by_more_than_a_tenth_is_named_with_its_fall(
    now: float, remark: str, tmp_path: Path
) -> None:
    text = quick.table([figure(now)], committed(figure(0.2), folder=tmp_path), MACHINE)
    (line,) = [line for line in text.splitlines() if line.startswith("hit_chat")]
    assert line.endswith(remark or "0.200")
    assert "committed: taken 2026-01-02 at 0123abcd" in text


def test_a_figure_that_is_new_is_shown_without_a_verdict(tmp_path: Path) -> None:
    text = quick.table([figure(0.1, "new")], committed(figure(0.2), folder=tmp_path), MACHINE)
    assert "explain" not in text
    assert "none yet" in text
    assert "none yet" in quick.table([figure(0.1)], {}, MACHINE)


def test_ratios_of_another_processor_are_said_to_be_of_another(tmp_path: Path) -> None:
    text = quick.table([figure(0.2)], committed(figure(0.2), folder=tmp_path), {"cpu": "two"})
    assert "on another processor (one)" in text


def test_more_is_better_for_rates_and_for_times() -> None:
    assert quick.figure("a", "b", "jobs/s", [50.0], [100.0]).ratio == 0.5
    assert quick.figure("a", "b", "ms", [4.0], [1.0]).ratio == 0.25
