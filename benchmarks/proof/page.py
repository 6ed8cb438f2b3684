"""docs/proof.md, from what the parts wrote."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.proof.parts import PARTS, Part
from benchmarks.proof.telling import Found
from docs.generate.measured import limits_of
from docs.generate.tables import rows_of

SUMMARY = "proof.json"
PICTURES = "../benchmarks/results/proof"
HEAD = """\
# Proof

Is it proven? Six figures, taken on one machine by one command in at most twenty minutes:

```sh by-hand
make proof
```

The command writes this page. [benchmarks](../benchmarks/README.md) says how each figure is taken,
[the results](benchmarks.md) have them at full size.
"""


def read(folder: Path) -> tuple[Found, dict[str, Found]]:
    """The summary, and what each part wrote that ended in time."""
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    files = {part.name: folder / f"{part.name}.json" for part in PARTS}
    return summary, {n: json.loads(file.read_text("utf-8")) for n, file in files.items() if file.exists()}


def page(summary: Found, found: Mapping[str, Found]) -> str:
    sections = [_section(number, part, summary, found.get(part.name)) for number, part in enumerate(PARTS, 1)]
    return HEAD + _machine(summary) + "".join(sections)


def _machine(summary: Found) -> str:
    machine, versions = summary["machine"], summary["versions"]
    rows: list[Sequence[str]] = [
        ("taken on", summary["date"].replace("T", " ")),
        ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
        ("memory", f"{machine['memory_gb']:g} GB"),
        ("system", machine["system"]),
        ("load before", f"{machine['load'][0]:g}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("size", "quick: only to show that it works" if summary["quick"] else "as `make proof` has it"),
        ("took", f"{sum(ran['took_s'] for ran in summary['parts'].values()) / 60:.0f} minutes"),
    ]
    return rows_of(("the machine", ""), rows)


def _section(number: int, part: Part, summary: Found, found: Found | None) -> str:
    told = f"\n## {number}. {part.title}\n\n"
    if found is None:
        return told + f"It did not finish: {_why(summary['parts'][part.name])}.\n"
    told += f"{part.told(found)}{limits_of(found['limits'])}"
    return told + f"\n![{part.title}]({PICTURES}/{part.name}.svg)\n"


def _why(ran: Mapping[str, Any]) -> str:
    return "out of time, or stopped" if ran["exit"] is None else f"exit code {ran['exit']}"
