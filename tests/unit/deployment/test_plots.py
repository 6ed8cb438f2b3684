"""The plots of the results are read on white and on dark pages, without powers of ten or too many lines."""

import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.colors import to_rgb

from benchmarks.frame import report
from docs.generate.charts import COLOURS, Frame, Series, lines
from docs.generate.measured import RESULTS

SVG = "{http://www.w3.org/2000/svg}"
PLOTS = sorted(RESULTS.rglob("*.svg"))
MOST_SERIES = 5
COLOUR = re.compile(r"#[0-9a-f]{6}")


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: str(plot.relative_to(RESULTS)))
def test_a_stored_plot_is_drawn_in_the_style(plot: Path) -> None:
    text = plot.read_text(encoding="utf-8")
    assert report.dark_rules() in text, "drawn by benchmarks.frame.report.draw"
    drawn = set(COLOUR.findall(text.partition("</style>")[2]))
    assert drawn <= {*report.DARK, *report.SERIES, report.GRAY, "#000000"}
    assert "mathdefault" not in text, "numbers are written out"
    assert max(_series(text)) <= MOST_SERIES


def test_a_plot_shows_no_power_of_ten_and_cuts_nothing_off(tmp_path: Path) -> None:
    picture, panel = report.figure()
    panel.plot([0.001, 100_000], [1, 2], label="a")
    report.label(panel, "far " * 60, log=True)
    report.draw(tmp_path / "plot.svg", picture)
    text = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert "<!-- 100,000 -->" in text
    assert "<!-- 0.001 -->" in text
    assert "mathdefault" not in text
    width = float(re.findall(r'viewBox="0 0 ([\d.]+) ', text)[0])
    assert width > 800, "as wide as its longest line"


def test_the_colours_are_seen_on_both_papers() -> None:
    papers = (report.PAPER, report.DARK[report.PAPER])
    assert all(_contrast(ink, paper) >= 3 for ink in (*report.SERIES, report.GRAY) for paper in papers)
    assert _contrast(report.INK, report.PAPER) >= 7
    assert _contrast(report.DARK[report.INK], report.DARK[report.PAPER]) >= 7
    assert all(_apart(one, other) for one, other in combinations(report.SERIES, 2))


def test_a_chart_of_the_board_shows_the_highest_lines_and_counts_the_others() -> None:
    series = [Series(f"line {height}", {0.0: height, 1.0: height}) for height in range(1, 8)]
    drawn = "".join(lines(Frame(0, 0, 400, 300, [0.0, 1.0]), series, "short", stacked=False))
    assert drawn.count('class="curve"') == len(COLOURS) == MOST_SERIES
    assert "and 2 more" in drawn
    assert "line 3<" in drawn
    assert "line 2<" not in drawn


def _series(text: str) -> list[int]:
    """Of each legend, how many names it has."""
    groups = ElementTree.fromstring(text).iter(f"{SVG}g")  # noqa: S314
    legends = [group for group in groups if group.get("id", "").startswith("legend")]
    return [0, *(len([g for g in one.iter() if g.get("id", "").startswith("text")]) for one in legends)]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour))
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def _apart(one: str, other: str) -> bool:
    return sum((a - b) ** 2 for a, b in zip(to_rgb(one), to_rgb(other), strict=True)) > 0.04
