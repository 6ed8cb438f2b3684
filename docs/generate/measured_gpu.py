"""The section of `benchmarks.gpu`: tests on the device, and many callers."""

from typing import Any

from docs.generate.tables import rows_of

TEXT = """
{card}, torch {torch}. Model `mid` in bfloat16 (random weights).

Tests of the engines on the device: {passed:,} passed, {skipped} skipped, {failed} failed: {names}.
"""


def tables(found: dict[str, Any]) -> str:
    tests = found["tests"]
    counts = {name: tests.get(name, 0) for name in ("passed", "skipped", "failed")}
    names = ", ".join(f"`{row['test'].rpartition('/')[2]}`" for row in tests["rows"]) or "none"
    about = TEXT.format(card=found["card"], torch=found["torch"], names=names, **counts)
    return about + _callers(found["callers"])


def _callers(rows: list[dict[str, Any]]) -> str:
    lines = [
        (
            f"`{row['system']}`",
            str(row["clients"]),
            str(row["answered"]),
            f"{row['tokens_per_s']:,.0f}",
            f"{_ms(row, 'ttft_p50_ms')}, {_ms(row, 'ttft_p99_ms')}",
            f"{row['device_busy']:.0%}",
        )
        for row in rows
        if "clients" in row
    ]
    return rows_of(("server", "callers", "answers", "tokens/s", "first text p50, p99", "GPU busy"), lines)


def _ms(row: dict[str, Any], name: str) -> str:
    return f"{'≥ ' if row.get(f'{name}_at_least') else ''}{row[name]:,.0f} ms"
