"""The log of jobs' ends: each is a line of the process whose call to the record store ended the job."""

import logging
from contextvars import Context
from typing import Any

from pydantic_core import from_json

from shared.telemetry.logs import fields

log = logging.getLogger("shared.jobs")


def own_reply(reply: Any) -> Any:
    """What a function returned; the ends of jobs that come before it are logged."""
    if not (isinstance(reply, list) and reply and reply[0] == "ended"):
        return reply
    for row in reply[1]:
        # Outside of what this process is about: that may be another caller's request.
        Context().run(_log_end, from_json(row))
    return reply[2] if len(reply) > 2 else None


def _log_end(end: dict[str, Any]) -> None:
    """Of what `Metrics.report_end` told (`functions/metrics.lua`); its times are in Unix ms."""
    usage = from_json(end.get("usage") or "{}")
    created_ms, ended_ms = int(end["created"]), int(end["ended"])
    # A run that serves several jobs may have begun before this one was created.
    began_ms = max(int(end["started"]), created_ms) if end.get("started") else ended_ms
    # The time that its inputs took does not count as waiting in the queue.
    placed_ms = max(int(end["placed"]), created_ms) if end.get("placed") else began_ms
    log.info(
        "job ended",
        extra=fields(
            request_id=end.get("request_id"),
            job=end["job"],
            run=end.get("run"),
            attempt=int(end.get("attempt") or 0),
            model=end["model"],
            caller=end["caller"],
            priority=end["class"],
            outcome=end["status"],
            code=end.get("code"),
            cache=end.get("cache"),
            wait_s=max(began_ms - placed_ms, 0) / 1000,
            run_s=max(ended_ms - began_ms, 0) / 1000,
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
        ),
    )
