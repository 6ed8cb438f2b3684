"""The plots of the results are read on white and on dark pages, without powers of ten or too many lines."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

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
