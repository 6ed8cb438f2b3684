"""The plots of the results are read on white and on dark pages, without powers of ten or too many lines."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.frame import report
from docs.generate.measured import RESULTS

SVG = "{http://www.w3.org/2000/svg}"
PLOTS = sorted(RESULTS.rglob("*.svg"))
MOST_SERIES = 6
COLOUR = re.compile(r"#[0-9a-f]{6}")


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: str(plot.relative_to(RESULTS)))
def test_a_stored_plot_is_drawn_in_the_style(plot: Path) -> None:
    text = plot.read_text(encoding="utf-8")
    assert report.dark_rules() in text, "drawn by benchmarks.frame.report.draw"
    drawn = set(COLOUR.findall(text.partition("</style>")[2]))
    assert drawn <= {*report.DARK, *report.SERIES, report.GRAY, "#000000"}
    assert "mathdefault" not in text, "numbers are written out"
    assert max(_series(text)) <= MOST_SERIES


def _series(text: str) -> list[int]:
    """Of each legend, how many names it has."""
    groups = ElementTree.fromstring(text).iter(f"{SVG}g")  # noqa: S314
    legends = [group for group in groups if group.get("id", "").startswith("legend")]
    return [0, *(len([g for g in one.iter() if g.get("id", "").startswith("text")]) for one in legends)]
