"""`make proof`: twenty minutes at most later docs/proof.md, its figures and pictures in results/proof/.

Exits with 1 where a target was missed or a part did not end.
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
from benchmarks.proof.running import run
from sightline.server import find_binary

LIMIT_S = 20 * 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="make proof", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small, only to show that it works")
    parser.add_argument("--out", type=Path, default=findings.FOLDER / "proof", help="folder of the results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "proof.md", help="the page to write")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments.out.mkdir(parents=True, exist_ok=True)
    valkey = ".".join(map(str, find_binary().version))
    summary = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": findings.machine(),
        "versions": findings.versions(valkey),
        "quick": arguments.quick,
    }
    say, deadline, ran = findings.telling(), time.monotonic() + LIMIT_S, {}
    for part in PARTS:
        ran[part.name] = run(part, arguments.out, deadline - time.monotonic(), say, quick=arguments.quick)
        found = (arguments.out / f"{part.name}.json").exists()
        say(f"{part.name}: {_word(ran[part.name].exit, found)} after {ran[part.name].took_s:.0f} s")
    summary["parts"] = {name: asdict(one) for name, one in ran.items()}
    (arguments.out / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    arguments.page.write_text(page(*read(arguments.out)), encoding="utf-8")
    say(f"wrote {arguments.page.name}")
    return 0 if all(one.exit == 0 for one in ran.values()) else 1


def _word(code: int | None, found: bool) -> str:
    """Python too ends with 1, where something went wrong; then nothing was found."""
    if code is None:
        return "the time was over"
    if not found:
        return f"it failed with {code}"
    return "a target was missed" if code else "all met"


if __name__ == "__main__":
    sys.exit(main())
