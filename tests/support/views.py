"""Job views as the store would read them."""

from dataclasses import replace
from typing import Any

from shared.job import Attempt, Estimate, JobView, Question
from shared.result import Choice, JobError, Result, Usage

QUEUED = JobView(
    id="job_00000000000000000000000000000001",
    caller="anyone",
    model="org/model",
    status="queued",
    created_ms=1_700_000_000_125,
    waiting_reason="busy",
    ahead=3,
    estimate=Estimate(p50=1.5, p90=4.0, service_s=0.5, basis="measured"),
    metadata={"shop": "7"},
    question=Question("Which?", pictures=1),
)


def succeeded(text: str = "A red square.", score: float | None = 0.75, **changes: Any) -> JobView:
    """A job after its run's end."""
    result = Result(
        choices=(Choice(text=text, finish_reason="stop", score=score),),
        usage=Usage(prompt_tokens=70, completion_tokens=5, image_tokens=64, cached_tokens=66),
        fingerprint="0123456789abcdef0123456789abcdef",
        compute_s=0.5,
    )
    ended = replace(
        QUEUED,
        status="succeeded",
        started_ms=1_700_000_000_250,
        ended_ms=1_700_000_000_750,
        waiting_reason=None,
        ahead=None,
        estimate=None,
        attempts=(Attempt(1, "worker_01", 1_700_000_000_250, 1_700_000_000_750, "succeeded"),),
        cache="MISS",
        result=result,
        last_event=3,
    )
    return replace(ended, **changes)


def failed(code: str = "invalid_image", param: str | None = "messages[0].content[0]") -> JobView:
    """A job whose run ended in an error."""
    error = JobError(code=code, message="The picture is broken; send another.", param=param)
    return replace(succeeded(), status="failed", result=None, error=error)


def answered(text: str = "A red square.", *, choice: dict[str, Any] | None = None, **changes: Any) -> JobView:
    """A job after its run's end, whose only choice and whose result have these changes."""
    view = succeeded(text)
    result = result_of(view)
    own = result.choices[0].model_copy(update=choice or {})
    return replace(view, result=result.model_copy(update={"choices": (own,)} | changes))


def result_of(view: JobView) -> Result:
    assert view.result is not None
    return view.result
