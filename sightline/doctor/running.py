"""Finds what already runs: the API at its address, and queues and workers, from the API or from the store."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from shared.models import Model
from shared.settings import CLIENT_KEY, ApiSettings, Settings
from shared.store.keys import BATCH, INTAKE
from shared.store.metrics import series
from shared.store.models import registrations
from shared.store.script import Store
from shared.store.workers import fleet
from sightline.doctor.check import Check, problem, warning
from sightline.doctor.records import from_store
from sightline.service_client import bearer
from sightline.tls import trusting

Row = dict[str, Any]
"""One model, in the fields of GET /v1/admin/fleet."""
Health = dict[str, Any]
"""The answer of GET /health."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - where to ask who listens on all addresses
PATIENCE_S = 10.0
STORE_STATES = ("reachable", "nearly_full", "read_only", "unreachable")


class Api(httpx.Client):
    """The API of this installation, if it answers at `host` and `port`."""

    def __init__(self, settings: ApiSettings, host: str, port: int, scheme: str | None = None) -> None:
        operator = None if settings.admin_key is None else settings.admin_key.get_secret_value()
        self._keys = (operator, os.environ.get(CLIENT_KEY))
        super().__init__(
            base_url=_url(scheme or ("http" if settings.tls_cert is None else "https"), host, port),
            timeout=PATIENCE_S,
            trust_env=False,
            verify=trusting(settings),
        )

    def health(self) -> Health | None:
        """None where nobody listens there, or something other than Sightline."""
        return _health(self)

    def fleet(self) -> list[Row] | None:
        """None where the API refuses. Call `health` first: only Sightline may be sent the operator's key."""
        replies = (_get_json(self, "/v1/admin/fleet", bearer(key)) for key in self._keys)
        return next((it["models"] for it in replies if isinstance(it, dict) and "models" in it), None)

    def keyed(self) -> bool:
        """Whether it answers nobody without a key."""
        try:
            return self.get("/v1/models").status_code == httpx.codes.UNAUTHORIZED
        except httpx.HTTPError:
            return False


def scheme_of(host: str, port: int) -> str | None:
    """The scheme by which Sightline answers, whatever its certificate: nothing secret is sent."""
    for scheme in ("http", "https"):
        url = _url(scheme, host, port)
        with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False, verify=False) as client:  # noqa: S501
            if _health(client) is not None:
                return scheme
    return None


def _health(client: httpx.Client) -> Health | None:
    reply = _get_json(client, "/health", {})
    return reply if isinstance(reply, dict) and reply.get("store") in STORE_STATES else None


def _url(scheme: str, host: str, port: int) -> str:
    at = EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    return f"{scheme}://{at}:{port}"


def _get_json(client: httpx.Client, path: str, headers: dict[str, str]) -> Any:
    try:
        return client.get(path, headers=headers).json()
    except (httpx.HTTPError, ValueError):
        return None


def checks(health: Health, fleet: list[Row] | None) -> Iterator[Check]:
    """Findings from a running service's health; `fleet` is its fleet, if it gave it."""
    if health["store"] == "unreachable":
        fix = "start its record store, or see its log: nothing is taken in until it answers"
        yield problem("service", "it runs, and does not reach its record store", fix)
    elif health["store"] == "read_only":
        fix = "see its log: as a rule its disk is full; or it is a replica (redis-cli role)"
        yield problem("service", "it runs, and its record store takes no writes, so no jobs", fix)
    elif health["store"] == "nearly_full":
        fix = (
            "raise its maxmemory (`sightline run` does at a start), or shorten SIGHTLINE_RETENTION__RESULT_S"
        )
        yield problem("service", "it runs, and its record store is nearly full, so it takes no jobs", fix)
    elif fleet is None:
        fix = f"set {CLIENT_KEY} to a key with the scope admin, which this command then sends"
        yield warning("service", "it runs, asks for a key, and does not tell us of its workers", fix)
    pictures = health.get("blobs", {}).get("state")
    if pictures == "read_only":
        fix = "see its log: let user and group of api, workers and couriers write there, or free its disk"
        yield problem("pictures", "the service runs, and may not write where its pictures lie", fix)
    elif pictures == "unreachable":
        fix = "see the service's log, and whether SIGHTLINE_BLOBS__URL can be reached and written"
        yield problem("pictures", "the service runs, and does not reach where its pictures lie", fix)


def stored_fleet(settings: Settings, models: Sequence[Model]) -> tuple[list[Row], int] | None:
    """Every model's row and the number of couriers, from the store; None where it does not answer."""
    lanes = [*(model.lane for model in models), INTAKE]
    if (found := from_store(settings.redis, lambda store: store.run(fleet(settings, lanes)))) is None:
        return None
    *served, intake = found
    rows = [
        one.to_row(model.id, model.folder.load_guess_s) for model, one in zip(models, served, strict=True)
    ]
    return rows, len(intake.workers)


def unnamed_queues(settings: Settings, models: Sequence[Model]) -> dict[str, int]:
    """How many jobs wait, by queue, for models without workers that neither `models` nor an operator names.

    Of the queues that the leading courier last saw; empty where none has, or where the store does not answer.
    """

    def waiting(store: Store) -> dict[str, int]:
        _, samples = store.run(series())
        found = store.run(registrations())
        # What waits for a removed model ends by itself.
        named = {
            INTAKE,
            BATCH,
            *(model.lane for model in models),
            *found.rows,
            *found.removed,
            *found.removing,
        }
        lanes = [lane for lane in (samples[-1].lanes if samples else ()) if lane not in named]
        fleets = store.run(fleet(settings, lanes))
        queues = {lane: one.lane.queued for lane, one in zip(lanes, fleets, strict=True) if not one.workers}
        return {lane: queued for lane, queued in queues.items() if queued}

    return from_store(settings.redis, waiting) or {}
