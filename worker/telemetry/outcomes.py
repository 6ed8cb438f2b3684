"""Counts how attempts end."""

from functools import cache

from shared.metrics.attempts import ATTEMPTS, COMPUTE, REUSED, RUN, TOKENS, WAIT
from shared.result import Result, Usage
from worker.lease import Lease

WORDS = {
    "succeeded": "succeeded",
    "admitted": "admitted",
    "failed": "failed",
    "lost": "lost",
    "attempt_failed": "retried",
}


class Series:
    """The metrics of one model, looked up once: each look-up costs as much as the counting."""

    def __init__(self, model: str) -> None:
        self.wait = WAIT.labels(model)
        self.run = RUN.labels(model)
        self.compute = COMPUTE.labels(model)
        self.reused = REUSED.labels(model)
        kinds = ("prompt", "picture", "sound", "cached", "completion")
        self.tokens = [TOKENS.labels(model, kind) for kind in kinds]


_series = cache(Series)


def word_of(outcome: str) -> str:
    """The counted outcome: every one that is not among the few counted ones gives the work back."""
    return WORDS.get(outcome, "given_back")


def count_attempt(lease: Lease, outcome: str, result: Result | None) -> None:
    """Call it once, at the end of an attempt; `outcome` as its job shows it, `result` if there is one."""
    claim, series = lease.claim, _series(lease.claim.model)
    ATTEMPTS.labels(claim.model, word_of(outcome)).inc()
    if claim.attempt == 1:
        series.wait.observe(claim.waited_ms / 1000)
    if result is not None:
        series.run.observe(lease.age_s)
        series.compute.observe(result.compute_s)
        _count_tokens(series, result.usage)


def _count_tokens(series: Series, usage: Usage) -> None:
    told = (
        usage.prompt_tokens,
        usage.image_tokens,
        usage.audio_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
    )
    for child, count in zip(series.tokens, told, strict=True):
        if count:
            child.inc(count)
    if usage.cached_tokens:
        series.reused.inc()
