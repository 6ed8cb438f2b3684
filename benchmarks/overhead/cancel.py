"""How soon a cancelled job's row serves the next one: a minute or two.

A real worker with the tiny model on one row; two more runs are claimed and prepared behind it. A job is
cancelled when its first text is published. From the moment the cancel request leaves:
  next_text   the next run's first text arrives: its prefill and first step are done
  next_claim  the worker claims another run: the cancelled attempt's thread has ended
"""

import json
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.load import Caller
from benchmarks.frame.services import opened
from benchmarks.frame.statistics import Bound, percentiles
from benchmarks.overhead.latency import Listener
from benchmarks.overhead.services import TINY_MODEL, OverheadServices
from shared.store import models
from shared.store.keys import channel
from shared.store.nudges import Nudger
from shared.store.script import connect

SAMPLES = 100
LIMIT_MS = 500.0
LIMIT_S = 60
SPARE = 30
"""Jobs beside those cancelled, so that there is always a next one, even if some end by themselves."""
WARM_UP = 3


@dataclass
class Cancellations:
    """In ms."""

    next_claim: list[float] = field(default_factory=list)
    next_text: list[float] = field(default_factory=list)


def measure(services: OverheadServices, samples: int) -> Cancellations:
    """Cancel that many jobs in mid-generation, one after the other. Needs the tiny model's worker."""
    caller = Caller(services.api_port, LIMIT_S)
    settings = services.records.settings
    store, jobs = connect(settings), set[str]()
    store.run(models.pause(TINY_MODEL.lane, paused=True))
    for number in range(WARM_UP + samples + SPARE):
        jobs.add(caller.call("POST", "/v1/jobs", _endless(number))["id"])
    # Not earlier: runs that enter the queue are announced, too.
    cancellations, begun = Cancellations(), set[str]()
    with closing(Listener(services, pattern=channel("job_*"))) as events:
        store.run(models.pause(TINY_MODEL.lane, paused=False))
        Nudger(settings).send(TINY_MODEL.lane, len(jobs))
        for _ in range(WARM_UP + samples):
            _cancel_one(events, caller, jobs, begun, cancellations)
    for job in jobs:
        caller.call("POST", f"/v1/jobs/{job}/cancel")
    caller.close()
    return Cancellations(cancellations.next_claim[WARM_UP:], cancellations.next_text[WARM_UP:])


def _cancel_one(
    events: Listener, caller: Caller, jobs: set[str], begun: set[str], cancellations: Cancellations
) -> None:
    cancelled = next(job for _, job, news in iter(events.next, None) if _is_text(news) and job in jobs)
    sent = time.monotonic_ns()
    jobs.remove(cancelled)
    caller.call("POST", f"/v1/jobs/{cancelled}/cancel")
    claim = text_at = 0
    for at, job, news in iter(events.next, None):
        if job not in jobs:
            continue
        if _is_text(news):
            text_at = text_at or at
        elif job not in begun:
            begun.add(job)
            claim = claim or at
        if claim and text_at:
            break
    cancellations.next_text.append((text_at - sent) / 1e6)
    cancellations.next_claim.append((claim - sent) / 1e6)


def _is_text(news: bytes) -> bool:
    """Text comes as the event itself, which begins with its number."""
    return news[:1].isdigit()


def _endless(seed: int) -> bytes:
    """A job sampled so hot that no answer ends before it is cancelled."""
    parameters = {"max_new_tokens": 1000, "temperature": 50.0, "seed": seed}
    body = {"model": TINY_MODEL.id, "input": {"prompt": "What do you see?"}, "parameters": parameters}
    return json.dumps(body).encode()


def _findings(arguments: command.Options, _: command.Say) -> report.Findings:
    with opened(OverheadServices) as services:
        services.start_worker(TINY_MODEL)
        cancellations = measure(services, arguments.samples)
    rows = {name.replace("_", " "): row for name, row in asdict(cancellations).items()}
    ms = {name: percentiles(row, "p50", "p99") for name, row in rows.items()}
    bounds = [Bound(f"cancel to {name}, p99", row["p99"], LIMIT_MS, "ms") for name, row in ms.items()]
    return report.Findings({"samples": arguments.samples, "ms": ms}, _picture(rows), bounds)


def _picture(rows: dict[str, list[float]]) -> Figure:
    figure, panel = report.figure(size=(6, 3.5))
    for name, row in rows.items():
        report.shares(panel, row, f"to the {name}")
    report.label(panel, "from the cancelling request, ms", "share of the cancelled jobs")
    return figure


if __name__ == "__main__":
    command.main("overhead.cancel", __doc__, _findings, samples=(SAMPLES, "jobs cancelled"))
