"""What runs already: the API where it is to listen; what waits and who works, as it or the store tells."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import httpx

from shared.errors import Unavailable
from shared.fleet import Fleet
from shared.models import Model
from shared.settings import CLIENT_KEY, ApiSettings, Settings
from shared.store.fleet import fleet
from shared.store.keys import INTAKE
from shared.store.script import connect
from sightline.service import bearer
from sightline.tls import trusting

Row = dict[str, Any]
"""Of one model, by the names of GET /v1/admin/fleet."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - where to ask who listens on all addresses
PATIENCE_S = 3.0


class Api(httpx.Client):
    """The API of this installation, if it answers at `host` and `port`."""

    def __init__(self, settings: ApiSettings, host: str, port: int) -> None:
        scheme = "http" if settings.tls_cert is None else "https"
        at = EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
        key = settings.admin_key
        super().__init__(
            base_url=f"{scheme}://{at}:{port}",
            timeout=PATIENCE_S,
            trust_env=False,
            headers=bearer(os.environ.get(CLIENT_KEY) if key is None else key.get_secret_value()),
            verify=trusting(settings),
        )

    def answers(self) -> bool:
        """Whether it is ours that listens there."""
        found = self._told("/health")
        return isinstance(found, dict) and found.get("store") in ("reachable", "unreachable")

    def fleet(self) -> list[Row] | None:
        """None where it does not tell us."""
        found = self._told("/v1/admin/fleet")
        return found.get("models") if isinstance(found, dict) else None

    def _told(self, path: str) -> Any:
        try:
            return self.get(path).json()
        except (httpx.HTTPError, ValueError):
            return None


def stored_fleet(settings: Settings, models: Sequence[Model]) -> tuple[list[Row], int] | None:
    """Every model's row, and how many couriers there are; None where the store does not answer."""
    store = connect(settings.redis)
    lanes = [*(model.lane for model in models), INTAKE]
    try:
        *found, intake = store.run(fleet(settings, lanes))
    except Unavailable:
        return None
    finally:
        store.client.close()
    rows = [_row(model, one) for model, one in zip(models, found, strict=True)]
    return rows, len(intake.workers)


def _row(model: Model, found: Fleet) -> Row:
    lane = found.lane
    return {
        "model": model.id,
        "state": lane.state,
        "reason": lane.failed,
        "paused": lane.paused,
        "queued": found.waiting,
        "oldest_queued_s": None if found.oldest_ms is None else (lane.now_ms - found.oldest_ms) / 1000,
        "workers": [asdict(worker) for worker in found.workers],
    }
