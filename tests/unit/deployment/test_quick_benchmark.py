"""`make bench` names what fell: a ratchet that lets a fall pass unnoticed holds nothing."""

from dataclasses import asdict

import pytest

from benchmarks import quick
from benchmarks.frame.statistics import Ratio

MACHINE = {"cpu": "one", "cores": 2}
ABOUT = {"date": "2026-01-02T03:04:05+00:00", "commit": "0123abcd", "machine": MACHINE}


def figure(value: float, name: str = "hit_chat") -> Ratio:
    return Ratio(name, "bare_get_chat", value, value, value)


COMMITTED = ABOUT | {"ratios": [asdict(figure(0.2))]}


@pytest.mark.parametrize(
    ("now", "remark"), [(0.172, "fell by 14 %: explain or mend"), (0.181, ""), (0.3, "")]
)
def test_a_ratio_that_fell_by_a_tenth_is_named(now: float, remark: str) -> None:
    text = quick.table([figure(now)], COMMITTED, MACHINE)
    (line,) = [line for line in text.splitlines() if line.startswith("hit_chat")]
    assert line.endswith(remark or "0.200")
    assert "committed: taken 2026-01-02 at 0123abcd" in text


def test_a_new_ratio_is_shown_without_a_verdict() -> None:
    text = quick.table([figure(0.1, "new")], COMMITTED, MACHINE)
    assert "explain" not in text
    assert "none yet" in text
    assert "none yet" in quick.table([figure(0.1)], {}, MACHINE)


def test_ratios_of_another_processor_are_named_as_such() -> None:
    assert "on another processor (one)" in quick.table([figure(0.2)], COMMITTED, {"cpu": "two"})
