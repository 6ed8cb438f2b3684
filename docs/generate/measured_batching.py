"""The section of `benchmarks.batching`: servers side by side."""

from collections.abc import Iterator, Sequence
from itertools import product
from statistics import median
from typing import Any

from benchmarks.batching.plan import CORES, DTYPES, MODELS, OURS, SYSTEMS, VLLM, WIDE, device_of
from benchmarks.frame.statistics import ratio
from docs.generate.tables import rows_of

ON = {1: "one thread", 2: "the whole machine"}
WHOLE, SHOWN = "mid", ("32",)
"""The model and the numbers of callers on the page; the JSON and the plot have all."""
MACHINE = """
Model `mid`, the whole machine. Ours are two workers with one thread each (`continuous`), or one worker
with two threads; the other servers have one or two threads, whichever gave more.
"""
OVERHEAD = """
### vLLM's own server, and the same engine behind our service

Both run, asked in turn. Medians, and ours over its own for each pair. On a CPU the servers share the
device's cores; a clock in its place leaves them all: 8 ms a step, 20,000 tokens of prompts a second, nothing
for pictures; a large page has 196 tokens. Answers from our cache count.
"""


def tables(found: dict[str, Any]) -> str:
    """Of `found` as benchmarks/results/batching.json has it."""
    parts = {(p["model"], p["dtype"], p["cores"], p["system"]): p for p in found["parts"]}
    text = _ratios(parts)
    lines = list(_lines(parts, WHOLE, max(CORES)))
    if lines:
        head = ("dtype", "callers", "server", "tokens/s", "a CPU second")
        rest = ("first text p50, p99", "between texts p50, p99", "RSS, MB")
        text += MACHINE + rows_of((*head, *rest), lines)
    return text + _overheads(found["overheads"])


Parts = dict[tuple[str, str, int, str], dict[str, Any]]
Points = dict[str, dict[str, Any]]


def _best(parts: Parts, model: str, dtype: str, cores: int, system: str) -> Points:
    """A server's points by callers; of the whole machine others may use one thread where that gives more."""
    known = parts.get((model, dtype, cores, system), {"points": {}})
    best = {name: point | {"cores": cores} for name, point in known["points"].items()}
    if cores > 1 and system not in OURS:
        fewer = _best(parts, model, dtype, cores - 1, system)
        for name, point in best.items():
            if name in fewer and fewer[name]["tokens_per_s"] > point["tokens_per_s"]:
                best[name] = fewer[name]
    return best


def _lines(parts: Parts, model: str, cores: int) -> Iterator[tuple[str, ...]]:
    for dtype in DTYPES:
        every = {system: _best(parts, model, dtype, cores, system) for system in SYSTEMS}
        callers = sorted({name for points in every.values() for name in points}, key=int)
        for name, (system, points) in product(callers, every.items()):
            if name in points and name in SHOWN:
                point = points[name]
                threads = "" if point["cores"] == cores else ", one thread"
                yield (dtype, name, SYSTEMS[system] + threads, *_cells(point))


def _cells(point: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{point['tokens_per_s']:,.1f}",
        f"{point['tokens_per_cpu_s']:,.1f}",
        f"{_wait(point, 'ttft_p50_ms')}, {_wait(point, 'ttft_p99_ms')}",
        f"{_ms(point['gap_p50_ms'])}, {_ms(point['gap_p99_ms'])}",
        f"{point['rss_mb']:,}",
    )


def _ratios(parts: Parts) -> str:
    lines = []
    for model, dtype, cores, other in product(MODELS, DTYPES, CORES, SYSTEMS):
        one, each = (_best(parts, model, dtype, cores, ours) for ours in (WIDE, "continuous"))
        theirs = _best(parts, model, dtype, cores, other)
        shared = sorted(each.keys() & theirs.keys(), key=int)
        if other not in OURS and shared:
            ratios = (f"{_more(each, one, n) / theirs[n]['tokens_per_s']:.2f} ({n})" for n in shared)
            lines.append((model, dtype, ON[cores], SYSTEMS[other], ", ".join(ratios)))
    head = ("model", "dtype", "on", "`continuous` against", "times the tokens/s (callers)")
    return rows_of(head, lines) if lines else ""


def _more(each: Points, one: Points, callers: str) -> float:
    """Tokens a second of whichever gave more: a worker for each core, or one for all."""
    return max(float(points[callers]["tokens_per_s"]) for points in (each, one) if callers in points)


def _overheads(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        sides = [row[system] for system in VLLM]
        speeds = (f"{median(side['tokens_per_s']):,.1f}" for side in sides)
        waits = (", ".join(f"{median(side[f'ttft_{p}_ms']):,.0f}" for p in ("p50", "p99")) for side in sides)
        pairs = ratio("", "", *(row[system]["tokens_per_s"] for system in reversed(VLLM)))
        shown = f"{pairs.value:.3f} ({pairs.low:.2f}-{pairs.high:.2f})"
        idle = [f"{median(side['waits']):.0%}" for side in sides if "waits" in side] or [""]
        case = (device_of(row), row["asked"], str(row["clients"]))
        lines.append((*case, *speeds, shown, *waits, ", ".join(idle)))
    head = ("device", "asked", "callers", "tokens/s, its own server", "behind ours", "pairs")
    rest = ("first text p50, p99, ms", "behind ours", "device waits")
    return OVERHEAD + rows_of((*head, *rest), lines) if lines else ""


def _wait(point: dict[str, Any], name: str) -> str:
    return (">\u00a0" if point.get(f"{name}_at_least") else "") + _ms(point[name])


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"
