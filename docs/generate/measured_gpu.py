"""The section of `benchmarks.gpu`: tests on the device, callers beside another server, and a step's time."""

from collections import Counter
from typing import Any

from docs.generate.tables import rows_of

TESTS = ("engine_tests", "families")


def tables(found: dict[str, Any]) -> str:
    """Without the rows of earlier runs, which have a date of their own."""
    about = f"\n{found['card']}, torch {found['torch']}. Model `mid` in bfloat16 (random weights).\n"
    callers, steps = (
        [row for row in found[part]["rows"] if "date" not in row] for part in ("callers", "steps")
    )
    return about + _tests(found) + _callers(callers) + _steps(steps)


def _tests(found: dict[str, Any]) -> str:
    counts, failed = Counter[str](), list[str]()
    for name in TESTS:
        for group in found[name]["groups"].values():
            counts.update(group)
        failed += [f"`{row['test'].rpartition('/')[2]}`" for row in found[name]["rows"] if "test" in row]
    return (
        f"\nTests of the engines on the device: {counts['passed']:,} passed, {counts['skipped']} skipped, "
        f"{counts['failed']} failed: {', '.join(failed)}.\n"
    )


def _callers(rows: list[dict[str, Any]]) -> str:
    head = ("server", "callers", "answers", "tokens/s", "first text p50, p99", "GPU busy")
    return rows_of(
        head,
        [
            (
                f"`{row['system']}`",
                str(row["clients"]),
                str(row["answered"]),
                f"{row['tokens_per_s']:,.0f}",
                f"{_ms(row, 'ttft_p50_ms')}, {_ms(row, 'ttft_p99_ms')}",
                f"{row['device_busy']:.0%}" if row.get("device_busy") else "",
            )
            for row in rows
            if row.get("tokens_per_s")
        ],
    )


def _ms(row: dict[str, Any], name: str) -> str:
    return f"{'≥ ' if row.get(f'{name}_at_least') else ''}{row[name]:,.0f} ms"


def _steps(rows: list[dict[str, Any]]) -> str:
    """Of the engine in the whole loop, and of a language model of four billion parameters alone."""
    engine = [row for row in rows if "engine" in row]
    plain = {row["rows"]: row["engine"]["step_ms"] for row in engine if not row.get("captured", True)}
    lines = [
        (
            row["network"],
            row["rows"],
            row["generate"]["step_ms"],
            plain.get(row["rows"]),
            row["engine"]["step_ms"],
        )
        for row in engine
        if row.get("captured", True)
    ]
    alone = [row for row in rows if "graph_ms" in row and row["network"] == "4B"]
    lines += [("4B", row["rows"], None, row["eager_ms"], row["graph_ms"]) for row in alone]
    return rows_of(
        ("ms of a step", "rows", "`generate()`", "call by call", "captured"),
        [
            (f"`{name}`", str(count), *("" if one is None else f"{one:.1f}" for one in times))
            for name, count, *times in lines
        ],
    )
