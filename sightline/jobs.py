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


def page(
    client: httpx.Client, *, limit: int, after: str | None, **filters: str | Sequence[str] | None
) -> Job:
    """The next `limit` jobs, newest first; the service may give fewer at a time. Raises CommandError."""
    jobs: list[Job] = []
    while True:
        params: dict[str, Any] = {"limit": limit - len(jobs), "after": after, **filters}
        part: Job = fetched(client, "GET", PATH, **params)
        jobs += part["data"]
        after = part["next"]
        if after is None or len(jobs) >= limit:
            ends = {"first_id": jobs[0]["id"], "last_id": jobs[-1]["id"]} if jobs else {}
            return part | {"data": jobs} | ends


def show(client: httpx.Client, job: str) -> Job:
    """One job. Raises CommandError."""
    reply: Job = fetched(client, "GET", path_of(job))
    return reply


def cancel(client: httpx.Client, job: str) -> Job:
    """The job after cancelling; a job that has ended stays as it is. Raises CommandError."""
    reply: Job = fetched(client, "POST", f"{path_of(job)}/cancel")
    return reply


def retry(client: httpx.Client, job: str) -> Job:
    """The new job. Raises CommandError, also where the old one has not ended."""
    reply: Job = fetched(client, "POST", f"{path_of(job)}/retry")
    return reply
