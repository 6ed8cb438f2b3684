"""`sightline jobs`: the jobs of a running service, over HTTP."""

from typing import Any

import httpx

from sightline.service import fetched, segment

Job = dict[str, Any]
PATH = "/v1/jobs"


def path_of(job: str) -> str:
    return f"{PATH}/{segment(job)}"


def texts(job: Job) -> list[str]:
    """The answers of a job that succeeded."""
    return [choice["text"] for choice in job["result"]["choices"]]


def page(
    client: httpx.Client, *, status: str | None, model: str | None, limit: int, after: str | None
) -> Job:
    """A page, newest first. Raises CommandError."""
    found: Job = fetched(client, "GET", PATH, status=status, model=model, limit=limit, after=after)
    return found


def show(client: httpx.Client, job: str) -> Job:
    """One job. Raises CommandError."""
    found: Job = fetched(client, "GET", path_of(job))
    return found


def cancel(client: httpx.Client, job: str) -> Job:
    """The job as it stands then; one that has ended stays as it is. Raises CommandError."""
    found: Job = fetched(client, "POST", f"{path_of(job)}/cancel")
    return found


def retry(client: httpx.Client, job: str) -> Job:
    """The new job. Raises CommandError, where the old one has not ended, too."""
    found: Job = fetched(client, "POST", f"{path_of(job)}/retry")
    return found
