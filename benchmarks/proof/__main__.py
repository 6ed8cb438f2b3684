"""`make proof`: twenty minutes at most later docs/proof.md, its figures and pictures in results/proof/.

Exits with 1 where a target was missed or a part did not end. Stopped in between, it writes what there is.
"""

import argparse
import json
import signal
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import findings
from benchmarks.processes import ROOT
from benchmarks.proof.page import SUMMARY, page, read
from benchmarks.proof.parts import PARTS
from benchmarks.proof.running import Ran, run
from sightline.serving.server import find_binary

LIMIT_S = 20 * 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="make proof", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small, only to show that it works")
    parser.add_argument("--out", type=Path, default=findings.FOLDER / "proof", help="folder of the results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "proof.md", help="the page to write")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments.out.mkdir(parents=True, exist_ok=True)
    summary = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": findings.machine(),
        "versions": findings.versions(".".join(map(str, find_binary().version))),
        "quick": arguments.quick,
    }
    ran = {part.name: Ran(0.0, None) for part in PARTS}
    try:
        _run_all(arguments.out, ran, quick=arguments.quick)
    finally:
        summary["parts"] = {name: asdict(one) for name, one in ran.items()}
        (arguments.out / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        arguments.page.write_text(page(*read(arguments.out)), encoding="utf-8")
        print(f"wrote {arguments.page.name}")
    return 0 if all(one.exit == 0 for one in ran.values()) else 1


def _run_all(folder: Path, ran: dict[str, Ran], *, quick: bool) -> None:
    """`ran` is filled as they end."""
    for part in PARTS:
        for old in (folder / f"{part.name}.json", folder / f"{part.name}.svg"):
            old.unlink(missing_ok=True)
    say, deadline = findings.telling(), time.monotonic() + LIMIT_S
    for part in PARTS:
        ran[part.name] = run(part, folder, deadline - time.monotonic(), say, quick=quick)
        found = (folder / f"{part.name}.json").exists()
        say(f"{part.name}: {_word(ran[part.name].exit, found)} after {ran[part.name].took_s:.0f} s")


def _word(code: int | None, found: bool) -> str:
    """What an exit code means: after a crash Python exits with 1 too, but then nothing was found."""
    if code is None:
        return "the time was over"
    if not found:
        return f"it failed with {code}"
    return "a target was missed" if code else "all met"


if __name__ == "__main__":
    sys.exit(main())
