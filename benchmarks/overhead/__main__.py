"""What the queue costs around a model that costs nothing: about four minutes.

Ours and the baselines (bare Celery, bare FastAPI with one Redis command a request, LiteLLM's proxy) take
turns; a ratio is the median over the rounds.
"""

import os
from collections.abc import Sequence
from contextlib import closing
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.load import Caller
from benchmarks.frame.services import opened
from benchmarks.frame.statistics import Bound, Ratio, percentiles, ratio, stretches
from benchmarks.frame.usage import Usage
from benchmarks.overhead import throughput, worker
from benchmarks.overhead.services import ECHO_LANE, QUESTION, WIDE, OverheadServices, commented, job

SAMPLES, ROUNDS, ROUND_S = 300, 5, 2.5
DRAINED = 3000
CLAIM_LIMIT_MS = 2.5
DRAIN_PER_S = 1600
MESSAGE_LIMIT = 2048
RSS_LIMIT_MB = 100


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    with opened(OverheadServices) as services:
        say("everything serves")
        ms = worker.claims(services, SAMPLES)
        say(f"claims: {SAMPLES} samples of each side")
        rates = throughput.measure(services, arguments.rounds, ROUND_S, say, with_litellm=True)
        message, rss_mb = footprint(services)
        services.start_worker(WIDE)
        drained = round(worker.drain(services, DRAINED))
        say(f"one worker process: {drained:,} jobs/s")
    latency_ms = {name: percentiles(values, "p50", "p99") for name, values in ms.items()}
    figures: dict[str, Any] = {
        "latency_ms": latency_ms,
        "per_s": {name: round(median(values)) for name, values in rates.items()},
        "broker_message_bytes": message,
        "api_rss_mb": rss_mb,
        "drain_per_s": drained,
    }
    bounds = [
        Bound("admit_reply_to_claim p50", latency_ms["admit_reply_to_claim"]["p50"], CLAIM_LIMIT_MS, "ms"),
        Bound("broker message, 10 MB picture", message, MESSAGE_LIMIT, "bytes"),
        Bound("API process after the load", rss_mb, RSS_LIMIT_MB, "MB"),
        Bound("one worker process, echo", drained, DRAIN_PER_S, "jobs/s", at_least=True),
    ]
    ratios = throughput.ratios(rates)
    claims = [
        ratio(f"{ours} p50", f"{bare} p50", stretches(ms[ours]), stretches(ms[bare]))
        for ours, bare in (
            ("admit_reply_to_claim", "bare_sent_to_body"),
            ("request_to_claim", "bare_send_to_body"),
        )
    ]
    return report.Findings(figures, _picture(latency_ms, ratios), bounds, [*claims, *ratios])


def footprint(services: OverheadServices) -> tuple[int, float]:
    """Return the bytes of the broker's message after a job with a large picture, and the API's RSS in MB."""
    with closing(Caller(services.api_port)) as caller:
        caller.call("POST", "/v1/jobs", job(QUESTION, commented(os.urandom(5 * 10**6).hex().encode())))
    with services.records.client(1) as broker:
        message = len(broker.lindex(ECHO_LANE, 0))
    return message, round(Usage([services["api"].pid]).rss_mb(), 1)


def _picture(latency_ms: dict[str, dict[str, float]], ratios: Sequence[Ratio]) -> Figure:
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
