"""The receipt of a job that succeeded: which computation gave the answer, with what, when and for how much.

Two answers that differ have receipts that differ, and say in what.
"""

from typing import Any

from api.dialects.moments import seconds
from shared.job import Computed, JobView
from shared.result import Result


def to_receipt(view: JobView, result: Result, computed: Computed) -> dict[str, Any]:
    """Times are the run's, in Unix seconds: for a cached answer they are earlier than the job's own."""
    origin, usage = result.origin, result.usage
    return {
        "request_hash": view.request_hash,
        "fingerprint": result.fingerprint,
        "model": {"id": view.model} | ({} if origin is None else origin.made_of),
        "parameters": {} if origin is None else origin.parameters,
        "cache": view.cache,
        "run": {"id": computed.run, "job": computed.job},
        "attempts": computed.attempts,
        "timings": {
            "queued_at": seconds(computed.queued_ms),
            "started_at": seconds(computed.started_ms),
            "first_token_at": seconds(computed.first_text_ms),
            "ended_at": seconds(computed.ended_ms),
            "compute_s": result.compute_s,
        },
        "usage": usage.model_dump() | {"total_tokens": usage.prompt_tokens + usage.completion_tokens},
    }
