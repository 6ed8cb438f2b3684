"""`sightline doctor`: finds what stops the service from working here, or soon will, and how to mend it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import httpx
from typer import Option

from sightline.commands import Url, commands, examples, typed_path
from sightline.doctor.check import Check
from sightline.doctor.diagnosis import Place, examine
from sightline.exits import Exit
from sightline.running_services import running_services
from sightline.service_client import LOCAL, host_of, service_url
from sightline.terminal import show_json, show_table

app = commands()


@app.command("doctor", epilog=examples("sightline doctor --port 8080 --data /srv/sightline"))
def _doctor(
    host: Annotated[str | None, Option(help="where the API listens, in place of --url")] = None,
    port: Annotated[int | None, Option(help="its port, in place of --url")] = None,
    data: Annotated[
        Path | None, Option(parser=typed_path, help="folder of jobs and pictures (default: data)")
    ] = None,
    url: Url = None,
    as_json: Annotated[bool, Option("--json", help="print one JSON object")] = False,
) -> Exit:
    """Check this installation, and say what is wrong and what to do about it.

    Looks at Redis, the models, the GPU, the port, the disk, the keys and the workers. Changes nothing; works
    whether the service runs or not. Exits with 1 if there is a problem. Where the service asks for keys, it
    sends the one in SIGHTLINE_API_KEY.
    """
    checks = list(examine(_place(host, port, url, data)))
    sound = all(check.state != "problem" for check in checks)
    if as_json:
        show_json({"ok": sound, "checks": [asdict(check) for check in checks]})
    else:
        show_table((), _rows(checks))
        print(_totals(checks))
    return Exit.OK if sound else Exit.REFUSED


def _place(host: str | None, port: int | None, url: str | None, data: Path | None) -> Place:
    """Raises CommandError for what is no URL, and where several services run here and none is named."""
    scheme = None
    if host is None and port is None:
        at = url or service_url()
        place = httpx.URL(at)
        host, port = host_of(at), place.port or (443 if place.scheme == "https" else 80)
        scheme = place.scheme if url is not None or at != LOCAL else None
    host, port = host or "127.0.0.1", port or 8000
    folders = {(host_of(it.url), httpx.URL(it.url).port): Path(it.data) for it in running_services()}
    return Place(host, port, data or folders.get((host, port), Path("data")), scheme)


def _rows(checks: Sequence[Check]) -> Iterator[tuple[str, str, str]]:
    for check in checks:
        yield check.state, check.about, check.said
        if check.fix:
            yield "", "", f"→ {check.fix}"


def _totals(checks: Sequence[Check]) -> str:
    counts = {state: sum(check.state == state for check in checks) for state in ("problem", "warning")}
    totals = [f"{count} {state}{'s' * (count != 1)}" for state, count in counts.items() if count]
    return ", ".join(totals) or "nothing is wrong"
