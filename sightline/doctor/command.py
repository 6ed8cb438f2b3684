"""`sightline doctor`: find what stops the service from working here, and say how to mend it."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Option

from shared.settings import SettingsError, load_settings
from shared.telemetry.traces import check_traces
from sightline.commands import Url, commands, examples, typed_path
from sightline.doctor import Check, machine, models, services
from sightline.exits import CommandError, Exit
from sightline.running_services import running_services
from sightline.service_client import LOCAL, host_of, service_url
from sightline.terminal import show_json, show_table
from sightline.tls import check_tls

app = commands()


@app.command("doctor", epilog=examples("sightline doctor --url http://10.0.0.5:8000 --data /srv/sightline"))
def _doctor(
    data: Annotated[
        Path | None, Option(parser=typed_path, help="folder of jobs and pictures (default: data)")
    ] = None,
    url: Url = None,
    as_json: Annotated[bool, Option("--json", help="print one JSON object")] = False,
) -> Exit:
    """Check this installation, and say what is wrong and what to do about it.

    Looks at settings, Redis, models, device, port and disk, and asks a service that runs one question.
    Changes nothing, and works whether the service runs or not. Exits with 1 if there is a problem. Where the
    service asks for keys, it sends the one in SIGHTLINE_API_KEY.
    """
    checks = list(examine(url, data))
    sound = all(check.state != "problem" for check in checks)
    if as_json:
        show_json({"ok": sound, "checks": [asdict(check) for check in checks]})
    else:
        show_table((), (row for check in checks for row in _rows(check)))
        print("nothing is wrong" if sound else "each problem keeps the service from working")
    return Exit.OK if sound else Exit.REFUSED


def examine(url: str | None, data: Path | None) -> Iterator[Check]:
    """Return all findings; `url` is a service that should run. Raises CommandError for what is no URL."""
    at = url or service_url()
    host_of(at)
    try:
        settings = load_settings()
        check_tls(settings.api)
        check_traces(settings)
    except (SettingsError, CommandError) as error:
        fix = "correct the variable: docs/settings.md lists them all"
        yield Check("settings", "problem", str(error), fix)
        return
    yield Check("settings", "ok", "all variables are known and have sound values")
    yield services.check_redis(settings.redis)
    rows, file = models.read(settings.models_file)
    yield file
    yield from models.check(rows)
    yield machine.check_device(rows)
    yield from services.check_service(at, settings.api, named=url is not None or at != LOCAL)
    if not all("url" in group.model_fields_set for group in (settings.redis, settings.blobs)):
        # `sightline run` keeps the records or the pictures there.
        there = next((Path(it.data) for it in running_services() if it.url == at), Path("data"))
        yield machine.check_data(data or there)
    if "url" in settings.blobs.model_fields_set:
        yield machine.check_blobs(settings.blobs)


def _rows(check: Check) -> Iterator[tuple[str, str, str]]:
    yield check.state, check.about, check.said
    if check.fix:
        yield "", "", f"→ {check.fix}"
