"""The section of `benchmarks.batching`: servers side by side."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from benchmarks.batching.__main__ import CORES
from benchmarks.batching.servers import OURS, SYSTEMS, VLLM
from benchmarks.frame.statistics import ratio
from docs.generate.tables import rows_of

ON = {1: "one thread", 2: "the whole machine"}
SHOWN = "32"
"""Callers in the table; the JSON and the picture have all."""
MACHINE = """
With 32 callers on the whole machine. Ours are two workers with one thread each (`continuous`), or one worker
with two threads; the other servers have one or two threads, whichever gave more.
"""
TURNS = """
### vLLM's own server, and the same engine behind our service

Both run, asked in turn. Medians, and ours over its own for each pair. Both share the cores with the engine,
which a GPU would not.
"""
Points = dict[str, dict[str, Any]]
Parts = dict[tuple[str, int], Points]


def tables(found: dict[str, Any]) -> str:
    """Render `found`, which is benchmarks/results/batching.json."""
    parts = {(row["system"], row["cores"]): row["points"] for row in found["parts"]}
    head = ("server", "tokens/s", "a CPU second")
    rest = ("first text p50, p99", "between texts p50, p99", "RSS, MB")
    servers = rows_of((*head, *rest), _lines(parts))
    return _ratios(parts) + MACHINE + servers + _turns(found["overheads"])


def _best(parts: Parts, system: str, cores: int) -> Points:
    """Return a server's points by callers; others than ours may use one thread if that gives more."""
    best = {callers: point | {"cores": cores} for callers, point in parts.get((system, cores), {}).items()}
    if cores > 1 and system not in OURS:
        for callers, point in _best(parts, system, cores - 1).items():
            if callers in best and point["tokens_per_s"] > best[callers]["tokens_per_s"]:
                best[callers] = point
    return best


def _lines(parts: Parts) -> Iterator[tuple[str, ...]]:
    for system, name in SYSTEMS.items():
        if point := _best(parts, system, max(CORES)).get(SHOWN):
            yield (
                name + ("" if point["cores"] == max(CORES) else ", one thread"),
                f"{point['tokens_per_s']:,.1f}",
                f"{point['tokens_per_cpu_s']:,.1f}",
                f"{_wait(point, 'ttft_p50_ms')}, {_wait(point, 'ttft_p99_ms')}",
                f"{_ms(point['gap_p50_ms'])}, {_ms(point['gap_p99_ms'])}",
                f"{point['rss_mb']:,}",
            )


def _ratios(parts: Parts) -> str:
    lines = []
    for cores in CORES:
        one, each = (_best(parts, ours, cores) for ours in ("wide", "continuous"))
        for system, name in SYSTEMS.items():
            theirs = _best(parts, system, cores)
            shared = sorted(each.keys() & theirs.keys(), key=int)
            if system not in OURS and shared:
                ratios = (f"{_more(each, one, n) / theirs[n]['tokens_per_s']:.2f} ({n})" for n in shared)
                lines.append((ON[cores], name, ", ".join(ratios)))
    return rows_of(("on", "`continuous` against", "times the tokens/s (callers)"), lines)


def _more(each: Points, one: Points, callers: str) -> float:
    """Return tokens a second of whichever gave more: a worker for each core, or one for all."""
    return max(float(points[callers]["tokens_per_s"]) for points in (each, one) if callers in points)


def _turns(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        sides = [row[system] for system in VLLM]
        speeds = (f"{median(side['tokens_per_s']):,.1f}" for side in sides)
        waits = (", ".join(f"{median(side[f'ttft_{p}_ms']):,.0f}" for p in ("p50", "p99")) for side in sides)
        pairs = ratio("", "", *(row[system]["tokens_per_s"] for system in reversed(VLLM)))
        lines.append(
            (
                str(row["clients"]),
                *speeds,
                f"{pairs.value:.3f} ({pairs.low:.2f}-{pairs.high:.2f})",
                *waits,
            )
        )
    head = ("callers", "tokens/s, its own server", "behind ours", "pairs")
    return TURNS + rows_of((*head, "first text p50, p99, ms", "behind ours"), lines) if lines else ""


def _wait(point: dict[str, Any], name: str) -> str:
    return (">\u00a0" if point.get(f"{name}_at_least") else "") + _ms(point[name])


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"
