"""How soon a cancelled job's row serves the next one: a minute or two.

A real worker with the tiny model on one row; two more jobs are claimed and prepared behind it. A job is
cancelled when its first text is published. From the moment the cancel request leaves:
  next text   the next job's first text arrives: its prefill and first step are done
  next claim  the worker claims another job: the cancelled attempt's thread has ended
"""

import json
import time
from contextlib import closing

from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.load import Caller
from benchmarks.frame.services import opened
from benchmarks.frame.statistics import Bound, percentiles
from benchmarks.overhead.services import TINY_LANE, TINY_MODEL, OverheadServices
from benchmarks.overhead.worker import JOBS, LIMIT_S, Listener
from shared.store import models
from shared.store.nudges import Nudger
from shared.store.script import connect

SAMPLES = 100
LIMIT_MS = 500.0
SPARE = 30
"""Jobs beside those cancelled, so that there is always a next one, even if some end by themselves."""
WARM_UP = 3


def cancellations(services: OverheadServices, samples: int) -> dict[str, list[float]]:
    """Cancel that many jobs in mid-generation, one after the other; return ms."""
    settings = services.records.settings
    store, jobs = connect(settings), set[str]()
    store.run(models.change(TINY_LANE, "pause"))
    rows = list[tuple[float, float]]()
    with closing(Caller(services.api_port, LIMIT_S)) as caller:
        for number in range(WARM_UP + samples + SPARE):
            jobs.add(caller.call("POST", "/v1/jobs", _endless(number))["id"])
        # Not earlier: jobs that enter the queue are announced, too.
        with closing(Listener(services, JOBS)) as events:
            store.run(models.change(TINY_LANE, "resume"))
            Nudger(settings).send(TINY_LANE, len(jobs))
            begun = set[str]()
            rows = [_cancel_one(events, caller, jobs, begun) for _ in range(WARM_UP + samples)]
        for job in jobs:
            caller.call("POST", f"/v1/jobs/{job}/cancel")
    next_claim, next_text = zip(*rows[WARM_UP:], strict=True)
    return {"next claim": [*next_claim], "next text": [*next_text]}


def _cancel_one(events: Listener, caller: Caller, jobs: set[str], begun: set[str]) -> tuple[float, float]:
    """Return the ms until the next claim and the next text."""
    cancelled = next(job for _, job, news in iter(events.next, None) if _is_text(news) and job in jobs)
    sent = time.monotonic_ns()
    jobs.remove(cancelled)
    caller.call("POST", f"/v1/jobs/{cancelled}/cancel")
    claim = text = 0
    while not (claim and text):
        at, job, news = events.next()
        if job in jobs and _is_text(news):
            text = text or at
        elif job in jobs - begun:
            begun.add(job)
            claim = claim or at
    return (claim - sent) / 1e6, (text - sent) / 1e6


def _is_text(news: bytes) -> bool:
    """Text comes as the event itself, which begins with its number."""
    return news[:1].isdigit()


def _endless(seed: int) -> bytes:
    """A job sampled so hot that no answer ends before it is cancelled."""
    parameters = {"max_new_tokens": 1000, "temperature": 50.0, "seed": seed}
    body = {"model": TINY_MODEL, "input": {"prompt": "What do you see?"}, "parameters": parameters}
    return json.dumps(body).encode()


def measure(arguments: command.Options, _: command.Say) -> report.Findings:
    with opened(OverheadServices) as services:
        services.start_worker(TINY_MODEL)
        rows = cancellations(services, arguments.samples)
    ms = {name: percentiles(row, "p50", "p99") for name, row in rows.items()}
    bounds = [Bound(f"cancel to {name}, p99", row["p99"], LIMIT_MS, "ms") for name, row in ms.items()]
    return report.Findings({"samples": arguments.samples, "ms": ms}, _picture(rows), bounds)


def _picture(rows: dict[str, list[float]]) -> Figure:
    figure, panel = report.figure(size=(6, 3.5))
    for name, row in rows.items():
        panel.ecdf(row, label=f"to the {name}")
    report.label(panel, "from the cancelling request, ms", "share of the cancelled jobs")
    return figure


if __name__ == "__main__":
    command.main("overhead.cancel", __doc__, measure, samples=(SAMPLES, "jobs cancelled"))
