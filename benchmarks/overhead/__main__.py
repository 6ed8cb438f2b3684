"""What the queue costs around a model that costs nothing: about four minutes.

Ours and the baselines (bare Celery, bare FastAPI with one Redis command a request, LiteLLM's proxy) take
turns; a ratio is the median over the rounds.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.services import opened
from benchmarks.frame.statistics import Bound, Ratio, ratio, stretches, summary
from benchmarks.overhead import cancel, capacity, latency, throughput
from benchmarks.overhead.capacity import Drain, Waiters
from benchmarks.overhead.services import TINY_MODEL, WIDE, OverheadServices

SAMPLES, ROUNDS, ROUND_S = 300, 5, 2.5
DRAINED, WAITERS, CANCELLED = 3000, 2000, 100
CLAIM_LIMIT_MS = 2.5
DRAIN_PER_S = 1600
CONNECTIONS_LIMIT = 3
CANCEL_LIMIT_MS = 100
MESSAGE_LIMIT = 2048
RSS_LIMIT_MB = 100


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    with opened(OverheadServices) as services:
        say("everything serves")
        ours, bare = latency.measure(services, SAMPLES)
        say(f"latency: {SAMPLES} samples of each side")
        laps = throughput.measure(services, arguments.rounds, ROUND_S, say, with_litellm=True)
        figures: dict[str, Any] = {
            "latency_ms": latency.figures(ours, bare),
            "throughput": {lap.name: lap.figures() for lap in laps},
            "footprint": capacity.footprint(services),
            **_crowded(services, say),
        }
    rates = throughput.ratios(laps)
    ratios = [*_claim_ratios(ours, bare), *rates]
    return report.Findings(figures, _picture(figures["latency_ms"], rates), _bounds(figures), ratios)


def _crowded(services: OverheadServices, say: command.Say) -> dict[str, Any]:
    """Many jobs, many waiting callers, cancelled jobs: each with a worker of its own."""
    services.start_worker(WIDE)
    drained = capacity.drain(services, DRAINED)
    say(f"one worker process: {drained.per_s:,.0f} jobs/s")
    services.stop(WIDE.name)
    waiting = capacity.waiters(services, WAITERS)
    say(f"{WAITERS:,} wait on {waiting.connections} connections")
    services.start_worker(TINY_MODEL)
    cancelled = cancel.measure(services, CANCELLED)
    say(f"{CANCELLED} jobs of the tiny model cancelled")
    cancel_ms = {name: summary(values) for name, values in asdict(cancelled).items()}
    return {"drain": _rounded(drained), "waiting": _rounded(waiting), "cancel_ms": cancel_ms}


def _rounded(row: Drain | Waiters) -> dict[str, float]:
    return {name: round(value, 2) for name, value in asdict(row).items()}


def _claim_ratios(ours: latency.Latencies, bare: latency.Latencies) -> list[Ratio]:
    after, whole = (
        (stretches(ours.after), stretches(bare.after)),
        (stretches(ours.whole), stretches(bare.whole)),
    )
    return [
        ratio("admit_reply_to_claim p50", "bare_sent_to_body p50", *after),
        ratio("request_to_claim p50", "bare_send_to_body p50", *whole),
    ]


def _bounds(figures: dict[str, Any]) -> list[Bound]:
    footprint = figures["footprint"]
    claim = figures["latency_ms"]["admit_reply_to_claim"]["p50"]
    return [
        Bound("admit_reply_to_claim p50", claim, CLAIM_LIMIT_MS, "ms"),
        Bound("broker message, 10 MB picture", footprint["broker_message_bytes"], MESSAGE_LIMIT, "bytes"),
        Bound("API process after the load", footprint["api_rss_mb"], RSS_LIMIT_MB, "MB"),
        Bound("imports of torch and the like", len(footprint["api_imported"]), 0, "packages"),
        Bound("one worker process, echo", figures["drain"]["per_s"], DRAIN_PER_S, "jobs/s", True),
        Bound(f"connections for {WAITERS:,} who wait", figures["waiting"]["most"], CONNECTIONS_LIMIT, ""),
        *(
            Bound(f"cancel to {name.replace('_', ' ')} p99", row["p99"], CANCEL_LIMIT_MS, "ms")
            for name, row in figures["cancel_ms"].items()
        ),
    ]


def _picture(latency_ms: dict[str, dict[str, Any]], ratios: Sequence[Ratio]) -> Figure:
    figure, (left, right) = report.figure(2, width_ratios=(2, 3))
    names = list(latency_ms)
    for key, height in (("p99", 0.7), ("p50", 0.4)):
        bars = left.barh(names, [latency_ms[name][key] for name in names], height, label=key)
        left.bar_label(bars, fmt="%.2f", padding=2)
    left.margins(x=0.15)
    report.label(left, "ms, idle queue", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    spread = [[r.value - r.low for r in ratios], [r.high - r.value for r in ratios]]
    labels = [f"{r.name}\nover {r.baseline}" for r in ratios]
    bars = right.barh(labels, [r.value for r in ratios], xerr=spread, height=0.6, ecolor=report.INK)
    right.bar_label(bars, fmt="%.2f", padding=2, label_type="center", color=report.PAPER)
    for target in {r.at_least for r in ratios if r.at_least is not None}:
        right.axvline(target, linestyle="--", color=report.GRAY, linewidth=1)
    right.set_xscale("log")
    right.set_xlabel("requests/s, ours over the baseline (dashed: target)")
    return figure


if __name__ == "__main__":
    command.main("overhead", __doc__, measure, rounds=(ROUNDS, "turns of each request rate"))
