"""Draws a trace as a picture: a bar for each span, below the one that it belongs to, over its time."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Protocol

WIDTH, LEFT, ROW, TOP = 980, 330, 24, 34
COLOURS = {"sightline-api": "#3b6fb6", "sightline-courier": "#b6763b", "sightline-worker": "#3f8f5f"}
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.dim{fill:#666}.line{stroke:#ddd}.ground{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.dim{fill:#999}.line{stroke:#444}.ground{fill:#0d1117}}"
)


class Span(Protocol):
    """What is drawn of a span; times in ns."""

    @property
    def service(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def parent(self) -> str: ...
    @property
    def began_ns(self) -> int: ...
    @property
    def ended_ns(self) -> int: ...
    @property
    def events(self) -> Sequence[tuple[str, int]]: ...


def draw(spans: Sequence[Span]) -> str:
    """An SVG of one trace's spans, in the order in which they began."""
    first, last = min(s.began_ns for s in spans), max(s.ended_ns for s in spans)
    height = TOP + ROW * len(spans) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="A trace of {len(spans)} spans">',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
        *_axis(first, last, height),
    ]
    for row, (depth, span) in enumerate(_tree(spans)):
        parts += _bar(span, depth, TOP + ROW * row, first, last)
    for at, (service, colour) in enumerate(COLOURS.items()):
        x, y = LEFT + 170 * at, height - 10
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{y}">{service}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _tree(spans: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """Each span under its parent, with its depth; what has none here stands at the top."""
    known = {span.id for span in spans}

    def below(parent: str | None, depth: int) -> Iterator[tuple[int, Span]]:
        for span in spans:
            if (span.parent if span.parent in known else None) == parent:
                yield depth, span
                yield from below(span.id, depth + 1)

    return below(None, 0)


def _x(at: int, first: int, last: int) -> float:
    return LEFT + (WIDTH - LEFT - 70) * (at - first) / max(last - first, 1)


def _axis(first: int, last: int, height: int) -> Iterator[str]:
    for quarter in range(5):
        at = first + (last - first) * quarter // 4
        x = _x(at, first, last)
        yield f'<line class="line" x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 28}"/>'
        yield f'<text class="dim" x="{x:.1f}" y="{TOP - 14}">{(at - first) / 1e6:.0f} ms</text>'


def _bar(span: Span, depth: int, y: int, first: int, last: int) -> Iterator[str]:
    began, ended = _x(span.began_ns, first, last), _x(span.ended_ns, first, last)
    colour = COLOURS.get(span.service, "#777")
    took = f"{(span.ended_ns - span.began_ns) / 1e6:.1f} ms"
    yield f'<text x="{8 + 16 * depth}" y="{y + 15}">{escape(span.name)}</text>'
    yield (
        f'<rect x="{began:.1f}" y="{y + 4}" width="{max(ended - began, 1.5):.1f}" height="14" rx="2" '
        f'fill="{colour}"><title>{escape(span.name)}: {took}</title></rect>'
    )
    yield f'<text class="dim" x="{ended + 6:.1f}" y="{y + 15}">{took}</text>'
    for name, at in span.events:
        x = _x(at, first, last)
        yield f'<circle cx="{x:.1f}" cy="{y + 11}" r="4" fill="#fff" stroke="{colour}" stroke-width="2">'
        yield f"<title>{escape(name)}</title></circle>"
