"""The verdict on a history: was every accepted job ended once, rightly, and told as one unbroken text?"""

from collections import Counter
from dataclasses import asdict, dataclass, field

from benchmarks.chaos.history import End, History, Story

EXAMPLES = 10
"""Findings that are quoted."""


@dataclass
class Verdict:
    """Counts of jobs. All but `jobs` should be 0; `findings` quotes the first ones.

    lost     accepted, and then unknown, ended otherwise than succeeded, or with another text
    doubled  a key with two jobs, a job with two ends or two successful attempts, or one that nobody asked for
    stuck    never accepted, or accepted and not ended when the time was over
    torn     a stream with a gap, a repeat, another text, or a clean end before its end
    """

    jobs: int
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    torn: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.torn)

    @property
    def counts(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if name != "findings"}


def judge(history: History) -> Verdict:
    verdict = Verdict(len(history.stories))
    for story in history.stories:
        for kind, finding in _faults(story):
            setattr(verdict, kind, getattr(verdict, kind) + 1)
            verdict.findings.append(f"{kind}: question {story.question.number}: {finding}")
    asked = {job for story in history.stories for job in story.ids}
    # A story that was never answered may own one of them.
    untold = sum(not story.ids for story in history.stories)
    strangers = sorted(history.listed - asked)[untold:]
    verdict.doubled += len(strangers)
    verdict.findings += [f"doubled: {job} is listed, and no client was told of it" for job in strangers]
    del verdict.findings[EXAMPLES:]
    return verdict


def _faults(story: Story) -> list[tuple[str, str]]:
    """At most one of each kind."""
    found = [("lost", _lost(story)), ("doubled", _doubled(story)), ("stuck", _stuck(story))]
    found.append(("torn", "; ".join(story.flaws)))
    return [(kind, finding) for kind, finding in found if finding]


def _lost(story: Story) -> str:
    if story.missing:
        return f"{sorted(story.ids)} is not known any more"
    right = End("succeeded", story.question.answer)
    wrong = sorted(f"{end.status}: {end.text!r}" for end in story.ends if end != right)
    return f"ended {'; '.join(wrong)}" if wrong else ""


def _doubled(story: Story) -> str:
    if len(story.ids) > 1:
        return f"one key, jobs {sorted(story.ids)}"
    if len(story.ends) > 1:
        return f"{len(story.ends)} different ends"
    succeeded = Counter(attempt.outcome for attempt in story.attempts)["succeeded"]
    return f"{succeeded} attempts succeeded" if succeeded > 1 else ""


def _stuck(story: Story) -> str:
    if story.accepted_at is None:
        return "was never accepted"
    return "" if story.ends or story.missing else f"{sorted(story.ids)} did not end"
