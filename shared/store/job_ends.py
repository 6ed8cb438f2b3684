"""The log of jobs' ends: each is a line of the process whose call to the record store ended the job."""

import logging
from typing import Any

from pydantic import BaseModel, Field, Json

from shared.result import Usage
from shared.telemetry.logs import fields

log = logging.getLogger("shared.jobs")


class JobEnd(BaseModel, frozen=True):
    """How a job ended; times in Unix ms. `attempt` is the last one of its run, 0 where it has none.

    `placed_ms` is when its run came into line, which may be before the job did; None where it has no run.
    """

    job: str
    status: str
    caller: str
    model: str
    priority: str = Field(alias="class")
    created_ms: int = Field(alias="created")
    ended_ms: int = Field(alias="ended")
    placed_ms: int | None = Field(None, alias="placed")
    started_ms: int | None = Field(None, alias="started")
    run: str | None = None
    attempt: int = 0
    cache: str | None = None
    request_id: str | None = None
    code: str | None = None
    usage: Json[Usage] | None = None


def own_reply(reply: Any) -> Any:
    """What a function returned; the ends of jobs that come before it are logged."""
    if not (isinstance(reply, list) and reply and reply[0] == "ended"):
        return reply
    for row in reply[1]:
        _log_end(JobEnd.model_validate_json(row))
    return reply[2] if len(reply) > 2 else None


def _log_end(end: JobEnd) -> None:
    usage = end.usage
    # A run that serves several jobs may have begun before this one was created.
    began_ms = end.ended_ms if end.started_ms is None else max(end.started_ms, end.created_ms)
    # Neither its inputs nor its own schedule_at count as waiting in the queue.
    placed_ms = began_ms if end.placed_ms is None else max(end.placed_ms, end.created_ms)
    log.info(
        "job ended",
        extra=fields(
            request_id=end.request_id,
            job=end.job,
            run=end.run,
            attempt=end.attempt,
            model=end.model,
            caller=end.caller,
            priority=end.priority,
            outcome=end.status,
            code=end.code,
            cache=end.cache,
            wait_s=max(began_ms - placed_ms, 0) / 1000,
            run_s=max(end.ended_ms - began_ms, 0) / 1000,
            prompt_tokens=None if usage is None else usage.prompt_tokens,
            completion_tokens=None if usage is None else usage.completion_tokens,
        ),
    )
