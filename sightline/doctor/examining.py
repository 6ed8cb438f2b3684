"""Every look, in the order in which its finding matters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.models import Model
from shared.settings import Settings, SettingsError, load_settings
from sightline.doctor import gpu, machine, records, workers
from sightline.doctor import models as model_checks
from sightline.doctor.check import Check, ok, problem
from sightline.doctor.running import Api, Row, stored_fleet
from sightline.exits import CommandError
from sightline.memory import free_mb
from sightline.tls import check_tls


@dataclass(frozen=True)
class Place:
    """Where the service runs, or is to run."""

    host: str
    port: int
    data: Path


def examine(place: Place) -> Iterator[Check]:
    """Looks and changes nothing; the same before the service runs and while it does."""
    try:
        settings = load_settings()
        check_tls(settings.api)
    except (SettingsError, CommandError) as error:
        yield problem("settings", str(error), "correct the variable; docs/settings.md lists them all")
        return
    yield ok("settings", "all variables are known and have sound values")
    rows, found = model_checks.read(settings.models_file)
    yield from found
    with Api(settings.api, place.host, place.port) as api:
        answers, told = api.answers(), api.fleet()
    yield from records.look(settings.redis)
    # What a worker of this machine has loaded needs no more room.
    yield from model_checks.look(rows, None if answers else free_mb())
    yield from gpu.look(rows)
    yield machine.look_at_port(place.host, place.port, answers=answers)
    yield from machine.look_at_data(place.data)
    yield from machine.look_at_blobs(settings.blobs)
    yield from machine.look_at_access(settings.api, place.host)
    yield from _at_work(settings, rows, told if answers else None)


def _at_work(settings: Settings, models: Sequence[Model], told: list[Row] | None) -> Iterator[Check]:
    """Nothing where nothing runs: what is not started yet is no fault. `told` is what a running API says."""
    given = "url" in settings.redis.model_fields_set
    stored = stored_fleet(settings, models) if given and models else None
    rows = stored[0] if stored else told
    if rows is None or (told is None and not any(row["workers"] for row in rows)):
        return
    yield from workers.look(rows)
    if stored:
        yield workers.look_at_couriers(stored[1])
