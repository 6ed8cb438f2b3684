"""`sightline doctor`: finds what stops the service from working here, or soon will, and how to mend it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Option

from sightline.commands import commands, examples
from sightline.doctor.check import Check
from sightline.doctor.diagnosis import Place, examine
from sightline.exits import Exit
from sightline.serving.folder import typed_path
from sightline.terminal import show_json, show_table

app = commands()


@app.command("doctor", epilog=examples("sightline doctor --port 8080 --data /srv/sightline"))
def _doctor(
    host: Annotated[str, Option(help="where the API listens")] = "127.0.0.1",
    port: Annotated[int, Option(help="its port")] = 8000,
    data: Annotated[Path, Option(parser=typed_path, help="folder of jobs and pictures")] = Path("data"),
    as_json: Annotated[bool, Option("--json", help="print one JSON object")] = False,
) -> Exit:
    """Check this installation, and say what is wrong and what to do about it.

    Looks at Redis, the models, the GPU, the port, the disk, the keys and the workers. Changes nothing; works
    whether the service runs or not. Exits with 1 if there is a problem.
    """
    checks = list(examine(Place(host, port, data)))
    sound = all(check.state != "problem" for check in checks)
    if as_json:
        show_json({"ok": sound, "checks": [asdict(check) for check in checks]})
    else:
        show_table((), _rows(checks))
        print(_totals(checks))
    return Exit.OK if sound else Exit.REFUSED


def _rows(checks: Sequence[Check]) -> Iterator[tuple[str, str, str]]:
    for check in checks:
        yield check.state, check.about, check.said
        if check.fix:
            yield "", "", f"→ {check.fix}"


def _totals(checks: Sequence[Check]) -> str:
    counts = {state: sum(check.state == state for check in checks) for state in ("problem", "warning")}
    totals = [f"{count} {state}{'s' * (count != 1)}" for state, count in counts.items() if count]
    return ", ".join(totals) or "nothing is wrong"
