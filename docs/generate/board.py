"""Draws Grafana's board as a picture: each panel where the board's JSON has it, with what Prometheus says.

Whoever has a service and a Prometheus asks the questions (`tests/e2e/test_board.py`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from docs.generate.charts import Frame, Series, heatmap, lines, number

Panel = Mapping[str, Any]
COLUMN, ROW, GAP = 50, 25, 6
"""A board has 24 columns; a panel's place and size are told in these."""
COLUMNS = 24
HUES = {"text": "text", "green": "#3f8f5f", "red": "#c2504c"}
LABEL = re.compile(r"\{\{(\w+)\}\}")
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#222}.title{font-weight:600;font-size:12px}"
    ".row{font-weight:600;font-size:14px}.dim{fill:#777;font-size:10px}.key{font-size:10px}"
    ".number{font-size:30px;font-weight:600;text-anchor:middle}.end{text-anchor:end}.mid{text-anchor:middle}"
    ".line{stroke:#e4e4e4}.panel{fill:#fff;stroke:#d8d8d8}.ground{fill:#f5f6f7}"
    ".curve{fill:none;stroke-width:1.4;stroke-linecap:round}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.dim{fill:#999}.line{stroke:#3a3a3a}"
    ".panel{fill:#1c1e22;stroke:#34373d}.ground{fill:#121417}}"
)


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A series' name, as a target's legend has it."""
    return LABEL.sub(lambda found: labels.get(found.group(1), ""), legend)


def draw(panels: Sequence[Panel], found: Mapping[int, Sequence[Series]], moments: Sequence[float]) -> str:
    """An SVG. `found` has each panel's series by its id, asked for at these moments (Unix s)."""
    height = ROW * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) + GAP
    width = COLUMN * COLUMNS + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="The board: {len(found)} panels">',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}"/>',
    ]
    for panel in panels:
        parts += _panel(panel, found.get(panel["id"], ()), moments)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, series: Sequence[Series], moments: Sequence[float]) -> Iterator[str]:
    at, title = panel["gridPos"], escape(panel["title"])
    x, y = COLUMN * at["x"] + GAP, ROW * at["y"] + GAP
    if panel["type"] == "row":
        yield f'<text class="row" x="{x + 4}" y="{y + 15}">{title}</text>'
        return
    box = Frame(x, y, COLUMN * at["w"] - GAP, ROW * at["h"] - GAP, moments)
    yield f'<rect class="panel" x="{x}" y="{y}" width="{box.width}" height="{box.height}" rx="3"/>'
    yield f'<text class="title" x="{x + 10}" y="{y + 18}">{title}</text>'
    yield from _content(panel, series, box)


def _content(panel: Panel, series: Sequence[Series], box: Frame) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] == "heatmap":
        return heatmap(box, series)
    if panel["type"] == "stat":
        shown = series[0] if series else Series("", {})
        return number(box, shown, defaults["unit"], _hue(defaults, shown.last))
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    return lines(box, series, defaults["unit"], stacked=stacked)


def _hue(defaults: Mapping[str, Any], value: float | None) -> str:
    """The colour of the highest threshold that is reached; the first has no value."""
    steps = defaults["thresholds"]["steps"]
    reached = [step for step in steps if step["value"] is None or (value or 0) >= step["value"]]
    return HUES[reached[-1]["color"]]
