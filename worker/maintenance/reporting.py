"""The pass that writes a line into the log for each job that ended, whoever ended it."""

import logging

from shared.store.reports import AT_ONCE as REPORTS_AT_ONCE
from shared.store.reports import Report, ended
from shared.store.script import Store
from shared.telemetry.logs import fields

log = logging.getLogger(__name__)
MOST_CALLS = 20


def log_ends(store: Store) -> int:
    """Does not touch the store if such lines would not be logged."""
    if not log.isEnabledFor(logging.INFO):
        return 0
    total = 0
    for _ in range(MOST_CALLS):
        reports = store.run(ended())
        for report in reports:
            _log(report)
        total += len(reports)
        if len(reports) < REPORTS_AT_ONCE:
            break
    return total


def _log(report: Report) -> None:
    usage = report.usage
    # A run that serves several jobs may have begun before this one was created.
    began_ms = report.ended_ms if report.started_ms is None else max(report.started_ms, report.created_ms)
    # Neither its inputs nor its own schedule_at keep a job in line.
    placed_ms = began_ms if report.placed_ms is None else max(report.placed_ms, report.created_ms)
    log.info(
        "job ended",
        extra=fields(
            request_id=report.request_id,
            job=report.job,
            run=report.run,
            attempt=report.attempt,
            model=report.model,
            caller=report.caller,
            priority=report.priority,
            outcome=report.status,
            code=report.code,
            cache=report.cache,
            wait_s=max(began_ms - placed_ms, 0) / 1000,
            run_s=max(report.ended_ms - began_ms, 0) / 1000,
            prompt_tokens=None if usage is None else usage.prompt_tokens,
            completion_tokens=None if usage is None else usage.completion_tokens,
        ),
    )
