"""The errors of jobs whose deadline has passed."""

from shared.result import JobError

FAILURES = ("start_by", "finish_by")


def failures() -> dict[str, str]:
    """The argument that `Runs.leave_late` reads."""
    return {name: _too_late(name).model_dump_json() for name in FAILURES}


def _too_late(limit: str) -> JobError:
    what = "begun" if limit == "start_by" else "ended"
    return JobError(
        code="deadline_exceeded", message=f"The job had not {what} in time.", param=limit, retryable=True
    )
