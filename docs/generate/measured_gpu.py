"""The section of `benchmarks.gpu`: tests on the device, callers beside another server, and a step's time."""

from collections import Counter
from typing import Any

from docs.generate.tables import rows_of

TESTS = ("engine_tests", "families")


def tables(found: dict[str, Any]) -> str:
    """Each part has the day of its own run."""
    about = f"\n{found['card']}, torch {found['torch']}. Model `mid` in bfloat16 (random weights).\n"
    return about + _tests(found) + _callers(found["callers"]["rows"]) + _steps(found["steps"]["rows"])


def _tests(found: dict[str, Any]) -> str:
    counts = Counter[str]()
    for name in TESTS:
        for group in found[name]["groups"].values():
            counts.update(group)
    return f"\nTests of the engines on the device: {counts['passed']:,} passed, {counts['failed']} failed.\n"


def _callers(rows: list[dict[str, Any]]) -> str:
    head = ("server", "callers", "tokens/s", "first text p50, p99")
    return rows_of(
        head,
        [
            (
                f"`{row['system']}`",
                str(row["clients"]),
                f"{row['tokens_per_s']:,.0f}",
                f"{_ms(row, 'ttft_p50_ms')}, {_ms(row, 'ttft_p99_ms')}",
            )
            for row in rows
            if row.get("tokens_per_s")
        ],
    )


def _ms(row: dict[str, Any], name: str) -> str:
    return f"{'≥ ' if row.get(f'{name}_at_least') else ''}{row[name]:,.0f} ms"


def _steps(rows: list[dict[str, Any]]) -> str:
    head = ("a step's ms", "rows", "`generate()` or call by call", "captured")
    lines = [
        (f"`{row['network']}`", str(row["rows"]), row["generate"]["step_ms"], row["engine"]["step_ms"])
        for row in rows
        if "engine" in row and row.get("captured", True)
    ]
    lines += [
        (f"pass alone, `{row['network']}`", str(row["rows"]), row["eager_ms"], row["graph_ms"])
        for row in rows
        if "graph_ms" in row and row["network"] == "4B"
    ]
    return rows_of(head, [(*line[:2], f"{line[2]:.1f}", f"{line[3]:.1f}") for line in lines])
