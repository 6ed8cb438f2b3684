"""The history that clients saw, which is the checker's only source."""

from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.questions import Question


@dataclass(frozen=True)
class Attempt:
    """One row of a job's `attempts`; times in Unix seconds."""

    number: int
    worker: str
    started_at: float
    ended_at: float | None
    outcome: str | None


@dataclass(frozen=True)
class End:
    """A job's end as one answer told it; `text` is the answer's, or names the error."""

    status: str
    text: str


def end_of(job: dict[str, Any]) -> End:
    """From a job as the interface tells it."""
    error = job.get("error") or {}
    said = f"{error.get('code')}: {error.get('message')}" if error else ""
    return End(job["status"], (job.get("result") or {}).get("text", said))


@dataclass
class Story:
    """One question from its first submission on.

    `ids` is every job that an answer named for this question's key, `ends` every end that any answer told,
    `flaws` what was wrong in a stream or an answer, in words.
    """

    question: Question
    ids: set[str] = field(default_factory=set)
    accepted_at: float | None = None
    ended_at: float | None = None
    ends: set[End] = field(default_factory=set)
    flaws: list[str] = field(default_factory=list)
    missing: bool = False
    retries: int = 0
    resumed: int = 0
    cache: str = ""
    attempts: tuple[Attempt, ...] = ()

    def saw(self, job: str | None, now: float) -> None:
        """An answer named this job."""
        if job:
            self.ids.add(job)
            self.accepted_at = self.accepted_at or now


@dataclass
class History:
    """All stories, and the ids of the service's own list of jobs at the end."""

    stories: list[Story]
    listed: set[str] = field(default_factory=set)
