"""`sightline doctor`: finds what stops the service from working here, or soon will, and how to mend it."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sightline.doctor.check import Check
from sightline.doctor.examining import Place, examine
from sightline.exits import Exit
from sightline.serving.folder import typed_path
from sightline.terminal import plain, show_json

DESCRIPTION = (
    "Checks Redis, the models, the GPU, the port, the disk, the keys and the workers, and says "
    "what is wrong and what to do about it. Changes nothing; works whether the service runs or not. "
    "Exits with 1 if there is a problem."
)


def add_doctor(command: argparse.ArgumentParser) -> None:
    command.description = DESCRIPTION
    command.epilog = "Example: sightline doctor --port 8080 --data /srv/sightline"
    command.add_argument("--host", default="127.0.0.1", help="where the API listens (default: %(default)s)")
    command.add_argument("--port", type=int, default=8000, help="its port (default: %(default)s)")
    command.add_argument(
        "--data",
        type=typed_path,
        default=Path("data"),
        help="folder of jobs and pictures (default: %(default)s)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(command=_doctor)


def _doctor(arguments: argparse.Namespace) -> Exit:
    checks = list(examine(Place(arguments.host, arguments.port, arguments.data)))
    sound = all(check.state != "problem" for check in checks)
    if arguments.json:
        show_json({"ok": sound, "checks": [asdict(check) for check in checks]})
    else:
        print("\n".join(_lines(checks)))
    return Exit.OK if sound else Exit.REFUSED


def _lines(checks: Sequence[Check]) -> list[str]:
    width = max(len(check.about) for check in checks)
    lines = []
    for check in checks:
        lines.append(plain(f"{check.state:<8} {check.about:<{width}}  {check.said}"))
        if check.fix:
            lines.append(plain(f"{'':<8} {'':<{width}}  → {check.fix}"))
    counts = {state: sum(check.state == state for check in checks) for state in ("problem", "warning")}
    totals = [f"{count} {state}{'s' * (count != 1)}" for state, count in counts.items() if count]
    return [*lines, ", ".join(totals) or "nothing is wrong"]
