"""`python -m benchmarks.overhead`: minutes later a table, results/overhead.json and overhead.svg.

Exits with 1 where a target was missed.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import findings
from benchmarks.overhead import (
    cancelling,
    draining,
    footprint,
    latency,
    report,
    site,
    throughput,
    waiters,
)

SAMPLES = 300
ROUNDS = 5
ROUND_S = 2.5
DRAINED, WAITERS, CANCELLED = 3000, 2000, 100
CLAIM_LIMIT_MS = 4
DRAIN_PER_S = 500
CONNECTIONS_LIMIT = 3
CANCEL_LIMIT_MS = 500
MESSAGE_LIMIT = 2048
RSS_LIMIT_MB = 120


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say = _sayer()
    with site.opened() as opened:
        say("everything serves")
        with opened.records.client() as client:
            measured = findings.origin(client)
        ours, bare = latency.measure(opened, arguments.samples)
        measured["latency_ms"] = _latencies(ours, bare)
        say(f"latency: {arguments.samples} samples of each side")
        laps = _throughput(opened, arguments.rounds, arguments.seconds, say)
        measured["throughput"] = {lap.name: _figures(lap) for lap in laps}
        message, picture = footprint.message_bytes(opened)
        measured["footprint"] = {
            "broker_message_bytes": message,
            "picture_bytes": picture,
            "api_rss_mb": round(footprint.rss_mb(opened), 1),
            "api_imported": footprint.imported(opened),
        }
        measured |= _at_large(opened, say)
    ratios, bounds = _latency_ratios(ours, bare) + _rate_ratios(laps), _bounds(measured)
    print(report.table(ratios, bounds))
    for path in report.write(arguments.out, measured, ratios, bounds):
        say(f"wrote {path}")
    return 0 if all(r.met is not False for r in ratios) and all(b.met for b in bounds) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--out", type=Path, default=findings.FOLDER, help="folder of the results")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="latency samples of each side")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each request rate")
    parser.add_argument("--seconds", type=float, default=ROUND_S, help="length of one turn")
    return parser.parse_args()


def _sayer() -> Callable[[str], None]:
    began = time.monotonic()
    return lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)


def _latencies(ours: latency.Latencies, bare: latency.Latencies) -> dict[str, dict[str, float]]:
    return {
        "admit_reply_to_claim": report.summary(ours.after),
        "request_to_claim": report.summary(ours.whole),
        "claim_behind_record": report.summary(ours.check),
        "bare_sent_to_body": report.summary(bare.after),
        "bare_send_to_body": report.summary(bare.whole),
        "bare_sent_to_message": report.summary(bare.check),
    }


def _at_large(opened: site.Site, say: Callable[[str], None]) -> dict[str, Any]:
    """Many jobs, many waiting callers, cancelled jobs: each with a worker of its own."""
    site.start_worker(opened, site.WIDE)
    drained = draining.measure(opened, DRAINED)
    say(f"one worker process: {drained.per_s:,.0f} jobs/s")
    opened.stop(site.WIDE.name)
    waited = waiters.measure(opened, WAITERS)
    say(f"{WAITERS:,} wait on {waited.connections} connections")
    site.start_worker(opened, site.TINY)
    taken = cancelling.measure(opened, CANCELLED)
    say(f"{CANCELLED} jobs of the tiny model cancelled")
    cancelled = {name: report.summary(values) for name, values in asdict(taken).items()}
    return {"drain": _rounded(drained), "waiting": _rounded(waited), "cancel_ms": cancelled}


def _rounded(figures: draining.Drained | waiters.Waited) -> dict[str, float]:
    return {name: round(value, 2) for name, value in asdict(figures).items()}


def _throughput(
    opened: site.Site, rounds: int, seconds: float, say: Callable[[str], None]
) -> list[throughput.Lap]:
    hits = throughput.hits(opened)
    throughput.measure(opened, hits, rounds=rounds, seconds=seconds, say=say)
    # The worker's facts stay in the records, so submits are admitted as if it were busy; none is consumed.
    opened.stop("worker")
    submits = throughput.submits(opened)
    throughput.measure(opened, submits, rounds=rounds, seconds=seconds, say=say)
    return hits + submits


def _figures(lap: throughput.Lap) -> dict[str, Any]:
    rates = [load.per_s for load in lap.loads]
    return {
        "per_s": round(median(rates)),
        "per_s_rounds": [round(x) for x in rates],
        "server_cpu_us": round(median(lap.server_us)),
        "redis_cpu_us": round(median(lap.redis_us)),
        "p50_ms": round(median(load.p50_ms for load in lap.loads), 2),
        "p99_ms": round(median(load.p99_ms for load in lap.loads), 2),
        "generator_share": round(max(load.own_share for load in lap.loads), 2),
        "answer_bytes": lap.loads[-1].answer_bytes,
        "baseline": lap.baseline or None,
    }


def _latency_ratios(ours: latency.Latencies, bare: latency.Latencies) -> list[report.Ratio]:
    return [
        report.ratio(
            "admit_reply_to_claim p50", "bare_sent_to_body p50", _medians(ours.after), _medians(bare.after)
        ),
        report.ratio(
            "request_to_claim p50", "bare_send_to_body p50", _medians(ours.whole), _medians(bare.whole)
        ),
    ]


def _medians(values: list[float]) -> list[float]:
    """Medians of five stretches of a run, so that drift shows."""
    return [median(values[i * len(values) // 5 : (i + 1) * len(values) // 5]) for i in range(5)]


def _rate_ratios(laps: list[throughput.Lap]) -> list[report.Ratio]:
    rates = {lap.name: [load.per_s for load in lap.loads] for lap in laps}
    return [
        report.ratio(lap.name, lap.baseline, rates[lap.name], rates[lap.baseline], lap.at_least)
        for lap in laps
        if lap.baseline
    ]


def _bounds(measured: dict[str, Any]) -> list[findings.Bound]:
    footprints = measured["footprint"]
    claim = measured["latency_ms"]["admit_reply_to_claim"]["p50"]
    return [
        findings.Bound("admit_reply_to_claim p50", claim, CLAIM_LIMIT_MS, "ms"),
        findings.Bound(
            "broker message, 10 MB picture", footprints["broker_message_bytes"], MESSAGE_LIMIT, "bytes"
        ),
        findings.Bound("API process after the load", footprints["api_rss_mb"], RSS_LIMIT_MB, "MB"),
        findings.Bound("imports of torch and the like", len(footprints["api_imported"]), 0, "packages"),
        findings.Bound("one worker process, echo", measured["drain"]["per_s"], DRAIN_PER_S, "jobs/s", True),
        findings.Bound(
            f"connections for {WAITERS:,} who wait", measured["waiting"]["most"], CONNECTIONS_LIMIT, ""
        ),
        *(
            findings.Bound(f"cancel to {name.replace('_', ' ')} p99", row["p99"], CANCEL_LIMIT_MS, "ms")
            for name, row in measured["cancel_ms"].items()
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
