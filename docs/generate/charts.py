"""Draws what panels of a board show, as parts of an SVG: lines and areas over time, a heatmap, one number."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#3b6fb6", "#d08a2e", "#3f8f5f", "#c2504c", "#7c5fb0")
"""As many lines are drawn in one chart: those that rise highest."""
BLUE = "#1f5fa8"
CHARACTER, LEGEND = 6.0, 13.0
"""About as wide is a character of a legend, and so high is one of its lines."""
LEGEND_LINES = 3
LEFT, RIGHT, TOP, BOTTOM = 50.0, 10.0, 28.0, 18.0
"""From a panel's edges to its chart: room for the labels of the axes."""
SCALES: Mapping[str, Sequence[tuple[float, str]]] = {
    "s": ((1, " s"), (1e-3, " ms"), (1e-6, " µs")),
    "bytes": ((2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B")),
    "percentunit": ((0.01, " %"),),
    "reqps": ((1, " /s"),),
    "short": ((1e6, " M"), (1e3, " K"), (1, "")),
}
"""Of each unit of Grafana's that the board uses: from how much on it is told in which words."""


@dataclass(frozen=True)
class Series:
    """`values` by the moment (Unix s) that they are of; there is none where nobody could say."""

    name: str
    values: Mapping[float, float]

    @property
    def last(self) -> float | None:
        return self.values[max(self.values)] if self.values else None

    @property
    def tells(self) -> bool:
        """Whether it is ever anything but 0."""
        return any(self.values.values())


@dataclass(frozen=True)
class Frame:
    """A chart's place in the picture, what its left and right edge stand for (Unix s), and its upper one."""

    x: float
    y: float
    width: float
    height: float
    moments: Sequence[float]
    most: float = 1.0

    def across(self, moment: float) -> float:
        first, last = self.moments[0], self.moments[-1]
        return self.x + self.width * (moment - first) / max(last - first, 1e-9)

    def up(self, value: float) -> float:
        return self.y + self.height * (1 - value / self.most)


def spelled(value: float, unit: str) -> str:
    """As a person reads it: 0.25 s is 250 ms."""
    if value == 0:
        return "0"
    scales = SCALES[unit]
    size, word = next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])
    return f"{float(f'{value / size:.3g}'):g}{word}"


def lines(box: Frame, series: Sequence[Series], unit: str, *, stacked: bool) -> Iterator[str]:
    """Over time, each in its colour, with their legend; what is 0 throughout is left out."""
    nonzero = [one for one in series if one.tells]
    named = _highest(nonzero)
    rows = _legend_rows([one.name for one in named], box.width - 20, len(nonzero) - len(named))
    heights = _sums(named, box.moments) if stacked else [v for one in named for v in one.values.values()]
    step = _step(max(heights, default=0.0), unit)
    most = max(math.ceil(max(heights, default=0.0) / step), 1) * step
    frame = _inner(box, LEGEND * len(rows), most)
    yield from _axes(frame, step, unit)
    base = dict.fromkeys(box.moments, 0.0)
    for one, colour in zip(named, _colours(len(named)), strict=True):
        if stacked:
            yield _area(frame, one, base, colour)
            base = {at: low + one.values.get(at, 0.0) for at, low in base.items()}
        yield f'<path class="curve" stroke="{colour}" d="{_curve(frame, base if stacked else one.values)}"/>'
    yield from _legend(frame, rows)


def heatmap(box: Frame, series: Sequence[Series]) -> Iterator[str]:
    """Of a histogram's buckets, each named by its upper end in s: the darker, the more fell into it."""
    fallen = _fallen(sorted(series, key=lambda one: float(one.name)))
    used = [at for at, one in enumerate(fallen) if one.tells]
    shown = fallen[used[0] : used[-1] + 1] if used else fallen[:1]
    frame = _inner(box, 0, max(len(shown), 1))
    most = max((value for one in shown for value in one.values.values()), default=0.0)
    yield from _times(frame)
    for row, one in enumerate(shown):
        if row % math.ceil(len(shown) / 9) == 0:
            label = "more" if one.name == "+Inf" else spelled(float(one.name), "s")
            yield f'<text class="dim end" x="{frame.x - 6:.0f}" y="{frame.up(row) - 3:.0f}">{label}</text>'
        yield from _cells(frame, row, one, most)


def _fallen(buckets: Sequence[Series]) -> list[Series]:
    """What fell into each bucket alone: as Prometheus tells them each holds those below it as well."""
    below: Mapping[float, float] = {}
    fallen = []
    for one in buckets:
        own = {at: max(value - below.get(at, 0.0), 0.0) for at, value in one.values.items()}
        fallen.append(Series(one.name, own))
        below = one.values
    return fallen


def _cells(frame: Frame, row: int, bucket: Series, most: float) -> Iterator[str]:
    wide, high = frame.width / max(len(frame.moments) - 1, 1), frame.height / frame.most
    for at, value in bucket.values.items():
        if value > 0:
            shade = 0.12 + 0.88 * math.sqrt(value / most)
            yield (
                f'<rect x="{frame.across(at):.1f}" y="{frame.up(row + 1):.1f}" width="{wide:.1f}" '
                f'height="{high - 1:.1f}" fill="{BLUE}" fill-opacity="{shade:.2f}"/>'
            )


def number(box: Frame, series: Series, unit: str, colour: str) -> Iterator[str]:
    """The last value, large, over its course."""
    most = max(series.values.values(), default=0.0) or 1.0
    low = Frame(box.x, box.y + box.height * 0.6, box.width, box.height * 0.4, box.moments, most)
    style = "" if colour == "text" else f' style="fill:{colour}"'
    yield _area(low, series, {}, COLOURS[0] if colour == "text" else colour)
    said = "no answer" if series.last is None else spelled(series.last, unit)
    x, y = box.x + box.width / 2, box.y + box.height / 2 + 14
    yield f'<text class="number" x="{x:.0f}" y="{y:.0f}"{style}>{said}</text>'


def _inner(box: Frame, legend: float, most: float) -> Frame:
    height = box.height - TOP - BOTTOM - legend
    return Frame(box.x + LEFT, box.y + TOP, box.width - LEFT - RIGHT, height, box.moments, most)


def _sums(series: Sequence[Series], moments: Sequence[float]) -> list[float]:
    return [sum(one.values.get(at, 0.0) for one in series) for at in moments]


def _step(most: float, unit: str) -> float:
    """Between two lines of an axis: a round number, at most four of which are enough."""
    if most <= 0:
        return 1.0
    if unit == "bytes":
        return float(2 ** math.ceil(math.log2(most / 4)))
    size = 10.0 ** math.floor(math.log10(most / 4))
    return next(size * times for times in (1, 2, 5, 10) if most / (size * times) <= 4)


def _axes(frame: Frame, step: float, unit: str) -> Iterator[str]:
    for at in range(round(frame.most / step) + 1):
        y, right = frame.up(at * step), frame.x + frame.width
        yield f'<line class="line" x1="{frame.x:.0f}" y1="{y:.1f}" x2="{right:.0f}" y2="{y:.1f}"/>'
        yield f'<text class="dim end" x="{frame.x - 6:.0f}" y="{y + 4:.1f}">{spelled(at * step, unit)}</text>'
    yield from _times(frame)


def _times(frame: Frame) -> Iterator[str]:
    """Minutes and seconds since the left edge."""
    first = frame.moments[0]
    whole = int(frame.moments[-1] - first)
    step = next((step for step in (5, 15, 30, 60, 300) if whole <= 5 * step), max(whole // 4, 1))
    for since in range(step, whole, step):
        x, y = frame.across(first + since), frame.y + frame.height + 13
        yield f'<text class="dim mid" x="{x:.0f}" y="{y:.0f}">{since // 60}:{since % 60:02}</text>'


def _curve(frame: Frame, values: Mapping[float, float]) -> str:
    """A path, broken where there is no value."""
    parts, drawing = [], False
    for at in frame.moments:
        if at in values:
            point = f"{frame.across(at):.1f} {frame.up(values[at]):.1f}"
            parts.append(f"L{point}" if drawing else f"M{point}h.1")
        drawing = at in values
    return "".join(parts)


def _area(frame: Frame, one: Series, base: Mapping[float, float], colour: str) -> str:
    there = [at for at in frame.moments if at in one.values]
    upper = [(at, base.get(at, 0.0) + one.values[at]) for at in there]
    lower = [(at, base.get(at, 0.0)) for at in reversed(there)]
    points = " ".join(f"{frame.across(at):.1f},{frame.up(value):.1f}" for at, value in upper + lower)
    return f'<polygon fill="{colour}" fill-opacity=".3" points="{points}"/>'


def _colours(count: int) -> list[str]:
    return list(COLOURS[:count])


def _highest(series: Sequence[Series]) -> list[Series]:
    """As many as there are colours, in their order."""
    kept = sorted(series, key=lambda one: max(one.values.values()), reverse=True)[: len(COLOURS)]
    return [one for one in series if one in kept]


def _legend_rows(names: Sequence[str], width: float, left_out: int = 0) -> list[list[tuple[str, str]]]:
    """Names and their colours, as many in a line as fit, and the last line says how many more there are."""
    rows: list[list[tuple[str, str]]] = []
    left = 0.0
    for at, (name, colour) in enumerate(zip(names, _colours(len(names)), strict=True)):
        if not rows or _wide(name) > left:
            if len(rows) == LEGEND_LINES:
                rows[-1].append((f"and {len(names) - at + left_out} more", "none"))
                return rows
            rows.append([])
            left = width if len(rows) < LEGEND_LINES else width - _wide("and 99 more")
        rows[-1].append((name, colour))
        left -= _wide(name)
    if left_out:
        rows += [[]] if left < _wide("and 99 more") and len(rows) < LEGEND_LINES else []
        rows[-1].append((f"and {left_out} more", "none"))
    return rows


def _wide(name: str) -> float:
    return CHARACTER * len(name) + 26


def _legend(frame: Frame, rows: Sequence[Sequence[tuple[str, str]]]) -> Iterator[str]:
    y = frame.y + frame.height + BOTTOM + 11
    for row in rows:
        x = frame.x - LEFT + 10
        for name, colour in row:
            yield f'<rect x="{x:.0f}" y="{y - 5:.0f}" width="11" height="3" fill="{colour}"/>'
            yield f'<text class="key" x="{x + 15:.0f}" y="{y:.0f}">{escape(name)}</text>'
            x += _wide(name)
        y += LEGEND
