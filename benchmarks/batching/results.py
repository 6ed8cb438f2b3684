"""The results of all runs on one machine: a part measured anew replaces its earlier result."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.batching.plan import Part
from benchmarks.findings import Bound

NAME = "batching"
PART = ("system", "model", "dtype", "cores")
DECODING = ("model", "dtype", "rows")
SPEED_TARGET, LOOP_TARGET = 0.9, 0.02
LOOP_ROWS = 16


class OtherMachineError(Exception):
    """Figures of two machines must not share a table; the message says what to do."""


class Results:
    """results/batching.json, written after every part: a run that is interrupted loses one at most."""

    def __init__(self, folder: Path, machine: dict[str, Any]) -> None:
        """Raises OtherMachineError."""
        self._file = folder / f"{NAME}.json"
        self.found: dict[str, Any] = {"machine": machine, "parts": [], "decoding": []}
        if self._file.exists():
            self.found = json.loads(self._file.read_text(encoding="utf-8"))
        if any(self.found["machine"][name] != machine[name] for name in ("cpu", "cores")):
            raise OtherMachineError(f"{self._file} is of another machine: remove it, or name another --out")
        self.found["machine"] = machine

    def part(self, part: Part) -> dict[str, Any] | None:
        return next((row for row in self.found["parts"] if _key(row, PART) == _of(part)), None)

    def has(self, part: Part, clients: Sequence[int]) -> bool:
        known = self.part(part)
        return known is not None and {str(n) for n in clients} <= known["points"].keys()

    def has_decoding(self, model: str, dtype: str, rows: int) -> bool:
        return (model, dtype, rows) in [_key(row, DECODING) for row in self.found["decoding"]]

    def add(self, part: Part, measured: dict[str, Any]) -> None:
        """Keeps points of client numbers that were not measured again, each with its own date."""
        known = self.part(part)
        new = {name: point | {"date": measured["date"]} for name, point in measured["points"].items()}
        points = (known["points"] if known else {}) | new
        row = dict(zip(PART, _of(part), strict=True)) | measured
        row["points"] = dict(sorted(points.items(), key=lambda item: int(item[0])))
        self._put("parts", row, PART)

    def add_decoding(self, row: dict[str, Any]) -> None:
        self._put("decoding", row, DECODING)

    def save(self, **about: Any) -> None:
        """Complete at any moment: the file is replaced, not written into."""
        self.found = self.found | about
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        new.replace(self._file)

    def bounds(self) -> list[Bound]:
        found = []
        for row in self.found["decoding"]:
            named = f"{row['model']} {row['dtype']}, {row['rows']} rows"
            speed, loop = row["speed_over_generate"], row["loop_share"]
            found.append(Bound(f"decode over generate(), {named}", speed, SPEED_TARGET, "", at_least=True))
            if row["model"] == "mid" and row["rows"] >= LOOP_ROWS:
                found.append(Bound(f"loop's share of a step, {named}", loop, LOOP_TARGET, ""))
        return found

    def _put(self, kind: str, row: dict[str, Any], names: Sequence[str]) -> None:
        key = _key(row, names)
        others = [other for other in self.found[kind] if _key(other, names) != key]
        self.found[kind] = sorted([*others, row], key=lambda one: _key(one, names))


def _key(row: dict[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _of(part: Part) -> tuple[Any, ...]:
    return tuple(getattr(part, name) for name in PART)
