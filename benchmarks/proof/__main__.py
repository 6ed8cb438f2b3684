"""`make proof`: twenty minutes at most later docs/proof.md, its figures and pictures in results/proof/.

Exits with 1 where a target was missed or a part did not end. Stopped in between, it writes what there is.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.frame import command, report
from benchmarks.frame.services import ROOT
from benchmarks.proof.page import PARTS, SUMMARY, Part, page, read

LIMIT_S = 20 * 60
GRACE_S = 60
"""How long a part may take to end what it started once it is told to stop."""


@dataclass(frozen=True)
class PartRun:
    """`exit` is 0 where every target was met, 1 where one was missed, None where time ran out."""

    took_s: float
    exit: int | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="make proof", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small, only to show that it works")
    parser.add_argument("--out", type=Path, default=report.FOLDER / "proof", help="folder of the results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "proof.md", help="the page to write")
    arguments = parser.parse_args()
    command.end_on_sigterm()
    arguments.out.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).isoformat(timespec="minutes")
    summary = report.origin() | {"date": date, "quick": arguments.quick}
    ran = {part.name: PartRun(0.0, None) for part in PARTS}
    try:
        _run_all(arguments.out, ran, quick=arguments.quick)
    finally:
        summary["parts"] = {name: asdict(one) for name, one in ran.items()}
        (arguments.out / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        arguments.page.write_text(page(*read(arguments.out)), encoding="utf-8")
        print(f"wrote {arguments.page.name}")
    return 0 if all(one.exit == 0 for one in ran.values()) else 1


def _run_all(folder: Path, ran: dict[str, PartRun], *, quick: bool) -> None:
    """`ran` is filled as they end."""
    for part in PARTS:
        for old in (folder / f"{part.name}.json", folder / f"{part.name}.svg"):
            old.unlink(missing_ok=True)
    say, deadline = command.progress(), time.monotonic() + LIMIT_S
    for part in PARTS:
        ran[part.name] = run(part, folder, deadline - time.monotonic(), say, quick=quick)
        written = (folder / f"{part.name}.json").exists()
        say(f"{part.name}: {_verdict(ran[part.name].exit, written)} after {ran[part.name].took_s:.0f} s")


def _verdict(code: int | None, written: bool) -> str:
    """What an exit code means: after a crash Python exits with 1 too, but then nothing was written."""
    if code is None:
        return "the time was over"
    if not written:
        return f"it failed with {code}"
    return "a target was missed" if code else "all met"


def run(part: Part, folder: Path, limit_s: float, say: command.Say, *, quick: bool) -> PartRun:
    """Its results lie in the folder where it ended in time."""
    argv = (*part.argv, *(part.quick if quick else ()), "--out", str(folder))
    say(f"{part.title}: python -m {' '.join(part.argv)}")
    began = time.monotonic()
    process = subprocess.Popen((sys.executable, "-m", *argv), cwd=ROOT)  # noqa: S603
    try:
        code = process.wait(max(limit_s, 0)) if limit_s > 0 else None
    except subprocess.TimeoutExpired:
        code = None
    finally:
        _end(process)
    return PartRun(round(time.monotonic() - began, 1), code)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
