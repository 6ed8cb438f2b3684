"""`sightline models`: stopping and resuming the work of a model while the service runs."""

from typing import Any

import httpx

from sightline.service import fetched, segment


def pause(client: httpx.Client, model: str, *, paused: bool) -> dict[str, Any]:
    """How the model stands then. Harmless twice. Raises CommandError."""
    name = segment(model, safe="/")
    fetched(client, "POST", f"/v1/admin/models/{name}/{'pause' if paused else 'resume'}")
    found: dict[str, Any] = fetched(client, "GET", f"/status/{name}")
    return found
