"""Questions, the history that their clients saw, and the verdict on it.

The history is the checker's only source; the right answers are known beforehand, since the engine echoes.
"""

import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import httpx

MODEL = "chaos/echo"
Way = Literal["poll", "follow", "chat", "chat_stream"]
WAYS: dict[Way, int] = {"poll": 4, "follow": 3, "chat": 2, "chat_stream": 1}
"""How many of ten clients ask in each way: poll or follow a job, or make a call that waits or streams."""
SHORTEST, LONGEST = 8, 24
"""Words of a question, and so tokens of its answer."""
SAME_SHARE = 0.1
"""Share of questions that repeat a recent one, so that they join its run or find its answer."""
PICTURE_SHARE = 0.04
"""Share of the polled and followed jobs with a picture that the courier has to fetch."""
PICTURE_SIZE = (32, 24)
PICTURE_WORD = "[32x24]"
BURST_WORDS = 100
"""Words of a burst's question: long enough for its jobs to meet while it runs."""
FAILURE = "model_removed"
"""The error with which a job may end if a fault removed its model."""
EXAMPLES = 10
"""Findings that are quoted."""


@dataclass(frozen=True)
class Question:
    number: int
    way: Way
    prompt: str
    picture: bool

    @property
    def answer(self) -> str:
        return f"{self.prompt} {PICTURE_WORD}" if self.picture else self.prompt


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
    """A job's end as one answer reported it; `text` is the answer's, or names the error."""

    status: str
    text: str

    @property
    def code(self) -> str:
        return self.text.partition(":")[0] if self.status == "failed" else ""


@dataclass
class Story:
    """One question from its first submission on.

    `ids` is every job that an answer named for this question's key, `ends` every end that an answer reported,
    `flaws` what was wrong in a stream or an answer, in words. `life` is when its job was created and ended,
    `removed` says whether a fault removed its model meanwhile. `reports` are the ends that its webhook was
    told, None if it has no webhook.
    """

    question: Question
    ids: set[str] = field(default_factory=set)
    asked_at: float | None = None
    accepted_at: float | None = None
    ended_at: float | None = None
    ends: set[End] = field(default_factory=set)
    flaws: list[str] = field(default_factory=list)
    missing: bool = False
    attempts: tuple[Attempt, ...] = ()
    life: tuple[float, float] | None = None
    removed: bool = False
    reports: set[str] | None = None

    @property
    def failures(self) -> set[End]:
        """Its ends with an error that a fault explains."""
        return {end for end in self.ends if self.removed and end.code == FAILURE}

    def accept(self, reply: httpx.Response) -> None:
        """An answer may name the job."""
        if job := reply.headers.get("x-job-id"):
            self.ids.add(job)
            self.accepted_at = self.accepted_at or time.time()


@dataclass
class History:
    """All stories, and the ids of the service's own list of jobs at the end."""

    stories: list[Story]
    listed: set[str] = field(default_factory=set)

    @property
    def open(self) -> int:
        """Questions without an answer."""
        return sum(story.ended_at is None for story in self.stories)


@dataclass
class Verdict:
    """Counts of jobs. `findings` quotes the first that must not be.

    lost           accepted, and then unknown, ended otherwise than succeeded, or with another text
    doubled        a key with two jobs, a job with two ends or successful attempts, one that nobody asked for
    stuck          never accepted, or accepted and not ended when the time was over
    torn           a stream with a gap, a repeat, another text, or a clean end before its end
    untold         an end that the job's webhook did not receive, or another one that it did
    model_removed  failed because a fault had removed the model: expected
    """

    jobs: int
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    torn: int = 0
    untold: int = 0
    model_removed: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if name != "findings"}


def questions(seed: int, count: int) -> list[Question]:
    dice = random.Random(seed)  # noqa: S311
    drawn: list[Question] = []
    for number in range(count):
        way = dice.choices(tuple(WAYS), tuple(WAYS.values()))[0]
        picture = way in ("poll", "follow") and dice.random() < PICTURE_SHARE
        # Every word is unlike its neighbours', so that a chunk in the wrong place shows.
        prompt = " ".join(f"q{number}w{place}" for place in range(dice.randint(SHORTEST, LONGEST)))
        if number > LONGEST and dice.random() < SAME_SHARE:
            prompt = drawn[-dice.randint(1, 10)].prompt
        drawn.append(Question(number, way, prompt, picture))
    return drawn


def equal_questions(first: int, count: int) -> list[Question]:
    """A burst: the same question again and again."""
    prompt = " ".join(f"q{first}w{place}" for place in range(BURST_WORDS))
    return [Question(first + at, "poll", prompt, picture=False) for at in range(count)]


def end_of(job: dict[str, Any]) -> End:
    """From a job as the interface shows it."""
    error = job.get("error") or {}
    message = f"{error.get('code')}: {error.get('message')}" if error else ""
    return End(job["status"], (job.get("result") or {}).get("text", message))


def judge(history: History) -> Verdict:
    """Was every accepted job ended once, rightly, and streamed as one unbroken text?"""
    verdict = Verdict(len(history.stories))
    for story in history.stories:
        faults = {
            "lost": _lost(story),
            "doubled": _doubled(story),
            "stuck": _stuck(story),
            "torn": "; ".join(story.flaws),
            "untold": _untold(story),
        }
        for kind, finding in faults.items():
            if finding:
                setattr(verdict, kind, getattr(verdict, kind) + 1)
                verdict.findings.append(f"{kind}: question {story.question.number}: {finding}")
        verdict.model_removed += bool(story.failures)
    answered = {job for story in history.stories for job in story.ids}
    # A story that was never answered may own one of them.
    unanswered = sum(not story.ids for story in history.stories)
    strangers = sorted(history.listed - answered)[unanswered:]
    verdict.doubled += len(strangers)
    verdict.findings += [f"doubled: {job} is listed, and no client was told of it" for job in strangers]
    del verdict.findings[EXAMPLES:]
    return verdict


def _lost(story: Story) -> str:
    if story.missing:
        return f"{sorted(story.ids)} is not known any more"
    right = End("succeeded", story.question.answer)
    wrong = sorted(f"{end.status}: {end.text!r}" for end in story.ends - story.failures if end != right)
    return f"ended {'; '.join(wrong)}" if wrong else ""


def _doubled(story: Story) -> str:
    if len(story.ids) > 1:
        return f"one key, jobs {sorted(story.ids)}"
    if len(story.ends) > 1:
        return f"{len(story.ends)} different ends"
    succeeded = Counter(attempt.outcome for attempt in story.attempts)["succeeded"]
    return f"{succeeded} attempts succeeded" if succeeded > 1 else ""


def _stuck(story: Story) -> str:
    if story.accepted_at is None and not story.missing:
        return "was never accepted"
    return "" if story.ends or story.missing else f"{sorted(story.ids)} did not end"


def _untold(story: Story) -> str:
    """Return how the webhook missed the end or received another one; empty if it did neither."""
    right = {end.status for end in story.ends}
    if story.missing or story.reports is None or story.reports == right:
        return ""
    return f"ended {right or 'never'}, the webhook received {story.reports or 'nothing'}"
