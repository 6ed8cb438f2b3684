"""The tables of `batches`: the steps of one file, what others waited, memory."""

from typing import Any

from docs.generate.tables import rows_of

PHASES = {
    "idle": "nothing",
    "upload": "the upload",
    "look": "checking the file",
    "work": "its lines",
}


def tables(found: dict[str, Any]) -> str:
    return _way(found) + _waits(found) + _memory(found)


def _way(found: dict[str, Any]) -> str:
    rows = [
        (f"upload of {found['lines']:,} lines, {found['file_mb']:g} MB", f"{found['upload_s']:g} s"),
        ("checking it", f"{found['looked_through_s']:g} s"),
        ("its lines, crashes included", f"{found['work_s']:g} s"),
        ("lines a second, until the first crash", f"{found['lines_per_s']:g}"),
        ("assembling its files", f"{found['put_together_s']:g} s"),
        (f"download of {found['output_mb']:g} MB", f"{found['download_s']:g} s"),
    ]
    return rows_of(("step", ""), rows)


def _waits(found: dict[str, Any]) -> str:
    waits = found["asked_ms"]
    rows = [
        (phase, f"{waits[name]['samples']:,}", f"{waits[name]['p50']:.0f}", f"{waits[name]['p99']:.0f}")
        for name, phase in PHASES.items()
        if waits[name]
    ]
    return rows_of(("a caller asks during", "questions", "p50, ms", "p99, ms"), rows)


def _memory(found: dict[str, Any]) -> str:
    rows = [(name, f"{mb['idle']:.0f}", f"{mb['most']:.0f}") for name, mb in found["memory_mb"].items()]
    return rows_of(("process", "idle, MB", "most, MB"), rows)
