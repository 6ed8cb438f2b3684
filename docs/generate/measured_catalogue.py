"""The table of `catalogue`: each load under each policy. The picture has the node's models."""

from typing import Any

from benchmarks.catalogue.machine import LINES, LRU
from docs.generate.tables import rows_of

POLICIES = ("ours", LRU, LINES)
HEAD = ("called", "waited p50, p95, s: ours", "one line", "lines")
TEXT = """
Fifty models on four devices; beside ours the least recently used leaves at once, for calls in one line, as
ollama has them, or in a line for each model. Targets stand where one line falls behind; elsewhere, and beside
lines, ours gains little or nothing.
"""
NODE = """
Eight tiny models on a node with room for two: answered after {p50:.1f} s (half), {p95:.1f} s (19 of 20);
{swaps} swaps, loading {loading_share:.0%} of the time.
"""


def tables(found: dict[str, Any]) -> str:
    lines = [
        (
            load,
            *(_waited(rows[who]) for who in POLICIES),
        )
        for load, rows in found["simulated"].items()
    ]
    node = found["node"]
    return TEXT + rows_of(HEAD, lines) + NODE.format(**node, **node["answer_s"])


def _waited(row: dict[str, Any]) -> str:
    return f"{row['p50']:,.1f}, {row['p95']:,.1f}"
