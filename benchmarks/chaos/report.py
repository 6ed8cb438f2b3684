"""What a run came to: figures, limits and a picture."""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.chaos import site
from benchmarks.chaos.faults import SUPERVISOR_S, Landed
from benchmarks.chaos.history import Story
from benchmarks.chaos.plan import PERIOD_S
from benchmarks.chaos.recovery import Recovery, attempts_of_runs
from benchmarks.chaos.run import OPEN_AT_ONCE, Outcome
from benchmarks.findings import Bound
from benchmarks.supervised import PAUSE_S

ALLOWANCE_S = 3.0
"""What recovery may take beyond the lease."""


def figures(outcome: Outcome) -> dict[str, Any]:
    """The run in numbers: times in seconds."""
    stories, found = outcome.history.stories, outcome.recoveries
    soon, late = parted(found.all)
    in_line = sorted(x.in_line_s for x in found.all if x.in_line_s is not None and not x.after_restart)
    runs = attempts_of_runs(stories)
    attempts = [attempt for run in runs for attempt in run]
    return outcome.verdict.counts | {
        "recovery_p50_s": share(soon, 0.5),
        "recovery_p99_s": share(soon, 0.99),
        "recoveries": len(soon),
        "recovery_after_restart_p50_s": share(late, 0.5),
        "recovery_after_restart_p99_s": share(late, 0.99),
        "recoveries_after_restart": len(late),
        "back_in_line_p50_s": share(in_line, 0.5),
        "back_in_line_p99_s": share(in_line, 0.99),
        "recovery_by_fault": _by_fault(found.all),
        "unexplained_attempts": found.unexplained,
        "late_writes_refused": {script: outcome.refused[script] for script in ("settle", "append")},
        "runs": len(runs),
        "attempts_per_run": round(len(attempts) / len(runs), 4) if runs else None,
        "outcomes": dict(Counter(attempt.outcome or "none" for attempt in attempts).most_common()),
        "faults": dict(Counter(fault.kind for fault in outcome.landed).most_common()),
        "faults_that_found_nobody": outcome.missed,
        "exits": dict(outcome.exits.most_common()),
        "clients": _clients(stories),
        "fire_s": round(outcome.fire_s, 1),
        "wall_s": round(outcome.wall_s, 1),
        "findings": outcome.verdict.findings,
    }


def conditions(outcome: Outcome, rate: float) -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "seed": outcome.seed,
        "jobs_per_s_at_most": rate,
        "open_at_once_at_most": OPEN_AT_ONCE,
        "fault_every_s": PERIOD_S,
        "workers": site.WORKERS,
        "apis": site.APIS,
        "couriers": site.COURIERS,
        "rows_per_worker": site.ROWS,
        "step_s": site.STEP_S,
        "settings": site.QUEUE,
        "restart_pause_s": PAUSE_S,
        "redis_restart_pause_s": SUPERVISOR_S,
        "appendfsync": "everysec",
    }


def bounds(figure: dict[str, Any]) -> list[Bound]:
    lease_s = site.QUEUE["lease_s"]
    none = [Bound(name, figure[name], 0, "jobs") for name in ("lost", "doubled", "stuck", "torn")]
    limits = (
        ("recovery_p99_s", lease_s + ALLOWANCE_S),
        ("recovery_after_restart_p99_s", 2 * lease_s + ALLOWANCE_S),
    )
    return none + [
        Bound(name, figure[name], limit, "s") for name, limit in limits if figure[name] is not None
    ]


def parted(found: Sequence[Recovery]) -> tuple[list[float], list[float]]:
    """Recovery times without and with a recent restart of the record store, each sorted."""
    soon = sorted(x.seconds for x in found if not x.after_restart)
    return soon, sorted(x.seconds for x in found if x.after_restart)


def share(ordered: Sequence[float], part: float) -> float | None:
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else None


def _by_fault(found: Sequence[Recovery]) -> dict[str, Any]:
    kinds: dict[str, list[float]] = {}
    for recovery in sorted(found, key=lambda x: x.kind):
        kinds.setdefault(recovery.kind, []).append(recovery.seconds)
    return {
        kind: {"count": len(values), "p50": round(median(values), 3), "longest": max(values)}
        for kind, values in kinds.items()
    }


def _clients(stories: Sequence[Story]) -> dict[str, Any]:
    spent = sorted(x.ended_at - x.accepted_at for x in stories if x.ended_at and x.accepted_at)
    return {
        "retries": sum(story.retries for story in stories),
        "streams_resumed": sum(story.resumed for story in stories),
        "ways": dict(Counter(story.question.way for story in stories).most_common()),
        "cache": dict(Counter(story.cache or "none" for story in stories).most_common()),
        "accepted_to_end_p50_s": round(share(spent, 0.5) or 0, 3),
        "accepted_to_end_p99_s": round(share(spent, 0.99) or 0, 3),
    }


def drawn(outcome: Outcome) -> Figure:
    """When jobs were accepted and ended beside the faults, and how long recovery took."""
    pyplot.switch_backend("svg")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5), width_ratios=(3, 2))
    _draw_course(left, outcome)
    _draw_recovery(right, outcome.recoveries.all)
    figure.tight_layout()
    return figure


def _draw_course(panel: Any, outcome: Outcome) -> None:
    stories = outcome.history.stories
    accepted = sorted(story.accepted_at for story in stories if story.accepted_at)
    ended = sorted(story.ended_at for story in stories if story.ended_at)
    zero = accepted[0]
    for moments, label in ((accepted, "accepted"), (ended, "ended")):
        panel.plot([moment - zero for moment in moments], range(1, len(moments) + 1), label=label)
    outages: list[Landed] = [fault for fault in outcome.landed if fault.name == "redis"]
    for number, fault in enumerate(outages):
        label = "record store hit" if number == 0 else ""
        panel.axvspan(fault.at - zero, fault.until - zero, color="tab:red", alpha=0.3, label=label)
    panel.set_xlabel("s since the first job was accepted")
    panel.set_ylabel("jobs")
    panel.legend()


def _draw_recovery(panel: Any, found: Sequence[Recovery]) -> None:
    lease_s = site.QUEUE["lease_s"]
    for ordered, label, limit in zip(
        parted(found),
        ("no restart of the record store lately", "after a restart of the record store"),
        (lease_s + ALLOWANCE_S, 2 * lease_s + ALLOWANCE_S),
        strict=True,
    ):
        shares = [(at + 1) / len(ordered) for at in range(len(ordered))]
        line = panel.plot(ordered, shares, drawstyle="steps-post", label=label)[0]
        panel.axvline(limit, color=line.get_color(), linestyle="--", linewidth=1)
    panel.set_xlabel("s from the fault to the next claim (dashed: limit of p99)")
    panel.set_ylabel("share of recoveries")
    panel.legend(loc="lower right", fontsize=8)
