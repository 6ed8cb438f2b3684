"""What a run came to: figures, limits and a picture."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.findings import Bound
from benchmarks.webhooks import site
from benchmarks.webhooks.checker import OWN
from benchmarks.webhooks.receivers import BEHAVIOURS, FAILS, HANGS, Received
from benchmarks.webhooks.run import KILL_S, SHARES, Outcome

NONE = ("lost", "torn", "forged", "unasked", "misreported")
PROMPT_S = 5.0
"""A receiver that takes all is told within this, nine times in ten, while every other one misbehaves."""


def figures(outcome: Outcome) -> dict[str, Any]:
    """The run in numbers: times in seconds."""
    counts = outcome.verdict.counts
    names = ("calls", "taken", "refused", "given_up", "repeats", "tries")
    return {
        "jobs": len(outcome.jobs),
        "kills": len(outcome.kills),
        **{name: counts[name] for name in (*NONE, *names)},
        "own_webhooks": dict(Counter(job.behaviour for job in outcome.jobs).most_common()),
        "end_to_taken_s": {
            b: spread(delays(outcome.calls, b)) for b in BEHAVIOURS if delays(outcome.calls, b)
        },
        "asked_s": round(outcome.asked_s, 1),
        "over_s": round(outcome.over_s, 1),
        "findings": outcome.verdict.findings[:50],
    }


def conditions(rate: int, seed: int) -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "seed": seed,
        "jobs_per_s_at_most": rate,
        "couriers": site.COURIERS,
        "courier_killed_every_s": KILL_S,
        "limit_s": site.LIMIT_S,
        "delays_s": list(site.DELAYS_S),
        "shares": SHARES,
        "flaky_fails": FAILS,
        "hangs": HANGS,
    }


def bounds(figure: dict[str, Any]) -> list[Bound]:
    found = [Bound(name, figure[name], 0, "calls") for name in NONE]
    steady = figure["end_to_taken_s"].get("steady")
    return found + ([Bound("steady: end to taken, p90", steady["p90"], PROMPT_S, "s")] if steady else [])


def delays(calls: Sequence[Received], behaviour: str) -> list[float]:
    """From a job's end until its own receiver first took the call, in order."""
    first: dict[str, float] = {}
    for call in calls:
        if call.behaviour == behaviour and call.host == OWN and call.status == 204:
            ended = float(json.loads(call.body)["data"]["ended_at"])
            first.setdefault(call.id, call.at - ended)
    return sorted(first.values())


def spread(ordered: Sequence[float]) -> dict[str, float]:
    shares = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    return {name: round(ordered[int(len(ordered) * part)], 3) for name, part in shares}


def drawn(outcome: Outcome) -> Figure:
    """When jobs ended and calls were taken beside the kills, and how long each kind of receiver waited."""
    pyplot.switch_backend("svg")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5), width_ratios=(3, 2))
    taken = [call.at for call in outcome.calls if call.status == 204]
    for moments, label in ((outcome.ended, "jobs ended"), (taken, "calls taken")):
        left.plot([at - outcome.began for at in sorted(moments)], range(1, len(moments) + 1), label=label)
    for number, at in enumerate(outcome.kills):
        label = "courier killed" if number == 0 else ""
        left.axvline(at - outcome.began, color="tab:red", alpha=0.4, linewidth=0.8, label=label)
    left.set_xlabel("s since the first job was asked")
    left.legend(fontsize=8)
    for behaviour in BEHAVIOURS:
        if waited := delays(outcome.calls, behaviour):
            right.plot(waited, [(at + 1) / len(waited) for at in range(len(waited))], label=behaviour)
    right.set_xscale("log")
    right.set_xlabel("from a job's end until its receiver took the call, s")
    right.set_ylabel("share of the calls that were taken")
    right.legend(fontsize=8)
    figure.tight_layout()
    return figure
