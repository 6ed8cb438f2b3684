"""Runs all of the doctor's checks, the most important first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.cgroup import free_memory_bytes
from shared.models import Model
from shared.settings import ApiSettings, SettingsError, load_settings
from shared.telemetry.traces import check_traces
from sightline.doctor import gpu, machine, records, running, workers
from sightline.doctor import models as model_checks
from sightline.doctor.check import Check, ok, problem
from sightline.doctor.running import Api, Health, Row, stored_fleet, unnamed_queues
from sightline.exits import CommandError
from sightline.tls import check_tls


@dataclass(frozen=True)
class Place:
    """Where the service runs, or is to run; with a `scheme` it was said to run there."""

    host: str
    port: int
    data: Path
    scheme: str | None = None


def examine(place: Place) -> Iterator[Check]:
    """All findings. Changes nothing, and works before the service runs as well as while it does."""
    try:
        settings = load_settings()
        check_tls(settings.api)
        check_traces(settings)
    except (SettingsError, CommandError) as error:
        yield problem("settings", str(error), "correct the variable; docs/settings.md lists them all")
        return
    yield ok("settings", "all variables are known and have sound values")
    rows, checks = model_checks.read(settings.models_file)
    yield from checks
    with Api(settings.api, place.host, place.port, place.scheme) as api:
        fleet = api.fleet() if (health := api.health()) else None
        keyed = api.keyed() if health else None
    yield from (record_checks := list(records.checks(settings.redis)))
    # Models that a running service has loaded need no more memory.
    free_mb = None if health else free_memory_bytes(swap=True) / 2**20
    yield from model_checks.checks(rows, free_mb, gpu=gpu.there())
    own_redis = "url" in settings.redis.model_fields_set
    if not health and not own_redis:
        yield from model_checks.check_all(rows)
    yield from gpu.checks(rows)
    yield from _check_api(settings.api, place, keyed)
    if health:
        yield from running.checks(health, fleet)
    if not (own_redis and "url" in settings.blobs.model_fields_set):
        yield from machine.check_data(place.data)
    yield from machine.check_blobs(settings.blobs)
    # A server that does not answer is not asked again: each try takes half a minute.
    answers = all(check.state != "problem" for check in record_checks if check.about in ("redis", "layout"))
    if own_redis and answers:
        yield from records.check_owner(settings)
    stored = stored_fleet(settings, rows) if own_redis and rows and answers else None
    if fleet is not None:
        yield from workers.check_unserved(rows, fleet)
    if _unwritten(health, record_checks):
        yield workers.unknown()
    else:
        yield from _at_work(fleet, stored, runs=health is not None)
        if stored:
            # A running service may have another models file.
            served = [Model.model_construct(id=row["model"]) for row in fleet or ()]
            yield from workers.check_unnamed(unnamed_queues(settings, [*rows, *served]))


def _check_api(api: ApiSettings, place: Place, keyed: bool | None) -> Iterator[Check]:
    """The port, and who may call there; `keyed`: the service asks for keys, None where none answers."""
    if keyed is None and place.scheme is not None:
        fix = "start it, name another --url, or run this with the service's SIGHTLINE_API__TLS_CERT"
        yield problem("port", f"no Sightline answers on {place.host} port {place.port}", fix)
    elif keyed is None and (scheme := running.scheme_of(place.host, place.port)):
        finding = f"Sightline answers on {place.host} port {place.port} by {scheme}, unlike the settings here"
        fix = "run this command with the environment of the service, SIGHTLINE_API__TLS_CERT above all"
        yield problem("port", finding, fix)
    else:
        yield machine.check_port(place.host, place.port, answers=keyed is not None)
        yield from machine.check_access(api, place.host, keyed=bool(keyed))


def _unwritten(health: Health | None, checks: Sequence[Check]) -> bool:
    """Whether the record store takes no writes, which makes all workers look dead."""
    if health:
        return health["store"] in ("read_only", "unreachable")
    return any((check.about, check.state) == ("persistence", "problem") for check in checks)


def _at_work(fleet: list[Row] | None, stored: tuple[list[Row], int] | None, *, runs: bool) -> Iterator[Check]:
    """Findings on the workers; none where nothing runs, since a service not yet started is no fault.

    A running API also knows the models that were added since.
    """
    rows = fleet if fleet is not None else stored[0] if stored else []
    if not runs and not any(row["workers"] for row in rows):
        return
    yield from workers.checks(rows)
    if stored:
        yield workers.check_couriers(stored[1])
