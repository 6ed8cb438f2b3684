"""What a run came to: figures, limits and a picture."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.batches.asker import Asked
from benchmarks.batches.caller import Told
from benchmarks.batches.run import KILLS, Outcome
from benchmarks.findings import Bound
from benchmarks.overhead.report import summary

MEMORY_LIMIT_MB = 400
P99_LIMIT = 10
"""Limit of the p99 wait, in times that of the idle service: beside a batch both cores are full."""


def figures(outcome: Outcome) -> dict[str, Any]:
    """The run in numbers: seconds, MB of a million bytes, and of what people waited ms."""
    whole = outcome.whole
    return {
        "lines": outcome.lines,
        "file_mb": round(whole.input_bytes / 1e6, 1),
        "upload_s": round(whole.upload_s, 2),
        "looked_through_s": round(whole.spent_s("validating"), 1),
        "lines_per_s": round(_pace(outcome), 1),
        "work_s": round(whole.spent_s("in_progress"), 1),
        "put_together_s": round(whole.spent_s("finalizing"), 1),
        "output_mb": round(whole.output_bytes / 1e6, 1),
        "download_s": round(whole.download_s, 2),
        "whole": _judged(whole),
        "cancelled": {"lines": outcome.cut_lines, **_judged(outcome.cut)},
        "killed": [kill.name for kill in outcome.kills],
        "asked_ms": {name: _waits(outcome.asked, *span) for name, span in _spans(outcome).items()},
        "unanswered": _unanswered(outcome),
        "memory_mb": {
            name: {"idle": round(outcome.memory.idle[name], 1), "most": round(most, 1)}
            for name, most in outcome.memory.most.items()
        },
        "redis_used_mb": round(outcome.redis_used_mb, 1),
        "left_over": outcome.left,
    }


def bounds(figure: dict[str, Any]) -> list[Bound]:
    asked = figure["asked_ms"]
    return [
        *_kept("", figure["whole"]["verdict"]),
        *_kept(", cancelled", figure["cancelled"]["verdict"]),
        Bound("processes killed in mid-work", len(figure["killed"]), len(KILLS), "", at_least=True),
        Bound("left over in the record store", sum(figure["left_over"].values()), 0, "entries"),
        *(
            Bound(f"memory of the {name}, at most", figure["memory_mb"][name]["most"], MEMORY_LIMIT_MB, "MB")
            for name in ("api", "courier")
        ),
        Bound("asking beside it over idle, p99", asked["work"]["p99"] / asked["idle"]["p99"], P99_LIMIT, ""),
    ]


def drawn(outcome: Outcome) -> Figure:
    """How the batch went beside the kills, and what people waited."""
    pyplot.switch_backend("svg")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5), width_ratios=(3, 2))
    began = outcome.whole.began
    for told, label in ((outcome.whole, "whole"), (outcome.cut, "cancelled at half")):
        left.plot([seen.at - began for seen in told.seen], [seen.done for seen in told.seen], label=label)
    for kill in outcome.kills:
        left.axvline(kill.at - began, color="tab:red", alpha=0.5, linewidth=0.8)
        left.annotate(f"{kill.name} killed", (kill.at - began, 0), rotation=90, fontsize=7, va="bottom")
    left.set_xlabel("s since the upload began")
    left.set_ylabel("lines done")
    left.legend(fontsize=8)
    for name, span in _spans(outcome).items():
        if waits := sorted(_during(outcome.asked, *span)):
            right.plot(waits, [(at + 1) / len(waits) for at in range(len(waits))], label=name)
    right.set_xscale("log")
    right.set_xlabel("from a question until its answer, ms")
    right.set_ylabel("share of the questions")
    right.legend(fontsize=8)
    figure.tight_layout()
    return figure


def _kept(which: str, verdict: dict[str, int]) -> list[Bound]:
    return [Bound(f"{name}{which}", value, 0, "lines") for name, value in verdict.items()]


def _judged(told: Told) -> dict[str, Any]:
    return {"status": told.seen[-1].status, "counts": told.counts, "verdict": asdict(told.verdict)}


def _pace(outcome: Outcome) -> float:
    """Lines a second until the first process was killed."""
    seen = [one for one in outcome.whole.seen if one.status == "in_progress" and one.at <= _struck(outcome)]
    return (seen[-1].done - seen[0].done) / (seen[-1].at - seen[0].at)


def _struck(outcome: Outcome) -> float:
    return outcome.kills[0].at if outcome.kills else outcome.whole.seen[-1].at


def _spans(outcome: Outcome) -> dict[str, tuple[float, float]]:
    """The spans in which people asked, by what ran beside; the last one ends with the first kill."""
    whole = outcome.whole
    sent, begun = whole.began + whole.upload_s, whole.since("in_progress")
    return {
        "idle": (outcome.began, whole.began),
        "upload": (whole.began, sent),
        "look": (sent, begun),
        "work": (begun, _struck(outcome)),
    }


def _during(asked: Sequence[Asked], began: float, ended: float) -> list[float]:
    """The waits of those who asked then, in ms."""
    return [1000 * one.took_s for one in asked if began <= one.began < ended and one.status == 200]


def _waits(asked: Sequence[Asked], began: float, ended: float) -> dict[str, float]:
    waits = _during(asked, began, ended)
    return summary(waits) if waits else {}


def _unanswered(outcome: Outcome) -> dict[str, int]:
    """Questions without an answer, before the first process was killed and after."""
    failed = [one.began + one.took_s for one in outcome.asked if one.status != 200]
    before = sum(at < _struck(outcome) for at in failed)
    return {"before": before, "behind": len(failed) - before}
