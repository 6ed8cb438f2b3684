"""The HTTP calls of `sightline jobs`."""

from collections.abc import Sequence
from typing import Any

import httpx

from sightline.serving.service import fetched, segment

Job = dict[str, Any]
PATH = "/v1/jobs"


def path_of(job: str) -> str:
    return f"{PATH}/{segment(job)}"


def texts(job: Job) -> list[str]:
    """The answers of a job that succeeded."""
    return [choice["text"] for choice in job["result"]["choices"]]


def page(client: httpx.Client, *, limit: int, after: str | None, **wanted: str | Sequence[str] | None) -> Job:
    """The next `limit` jobs, newest first; the service may give fewer at a time. Raises CommandError."""
    found: list[Job] = []
    while True:
        params: dict[str, Any] = {"limit": limit - len(found), "after": after, **wanted}
        part: Job = fetched(client, "GET", PATH, **params)
        found += part["data"]
        after = part["next"]
        if after is None or len(found) >= limit:
            ends = {"first_id": found[0]["id"], "last_id": found[-1]["id"]} if found else {}
            return part | {"data": found} | ends


def show(client: httpx.Client, job: str) -> Job:
    """One job. Raises CommandError."""
    found: Job = fetched(client, "GET", path_of(job))
    return found


def cancel(client: httpx.Client, job: str) -> Job:
    """The job after cancelling; a job that has ended stays as it is. Raises CommandError."""
    found: Job = fetched(client, "POST", f"{path_of(job)}/cancel")
    return found


def retry(client: httpx.Client, job: str) -> Job:
    """The new job. Raises CommandError, also where the old one has not ended."""
    found: Job = fetched(client, "POST", f"{path_of(job)}/retry")
    return found
