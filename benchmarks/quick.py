"""What does a change cost? `make bench`, before and after it: under three minutes.

Each figure is a ratio to a named baseline of the same run, round by round in turn, so that another machine or
other work on it moves both. All are written so that more is better. Each is printed next to the one in
results/quick.json; one that fell by more than a tenth is to be explained or mended. `make bench ARGS=--save`
writes the file anew. It judges nothing: the exit code is 0 unless it could not run.
"""

import argparse
import json
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.frame import command, jobs, report
from benchmarks.frame.command import Say
from benchmarks.frame.services import ROOT, opened, record_server
from benchmarks.frame.statistics import Ratio, ratio, stretches
from benchmarks.frame.usage import thread_s
from benchmarks.overhead import throughput, worker
from benchmarks.overhead.services import WIDE, OverheadServices
from shared.store import admission
from shared.store.jobs import view
from shared.store.script import ScriptCall, Store

FILE = report.FOLDER / "quick.json"
TOLERANCE = 0.1
ROUNDS, ROUND_S = 7, 0.5
CLAIMS = 150
DRAINS, DRAINED = 3, 500
STORE_JOBS, STORE_SETS = 200, 2000
MODEL = "org/model"
REQUEST = json.dumps({"messages": [{"role": "user", "content": "y" * 200}], "model": MODEL, "max_tokens": 64})


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--save", action="store_true", help="write results/quick.json, to be committed")
    arguments = parser.parse_args()
    command.end_on_sigterm()
    about = report.origin() | {"commit": commit()}
    ratios = measure(command.progress())
    committed = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    print(table(ratios, committed, about["machine"]))
    if arguments.save:
        whole = about | {"ratios": [asdict(row) for row in ratios]}
        FILE.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {FILE.name}")
    return 0


def measure(say: Say) -> list[Ratio]:
    with opened(OverheadServices) as services:
        say("everything serves")
        ms = worker.claims(services, CLAIMS)
        ours, bare = stretches(ms["admit_reply_to_claim"]), stretches(ms["bare_sent_to_body"])
        ratios = [ratio("claim_p50", "bare_celery_task", bare, ours)]
        ratios += throughput.ratios(throughput.measure(services, ROUNDS, ROUND_S, say))
        ratios.append(echo(services, say))
    with record_server() as server, server.client(decode_responses=True) as client:
        ratios += store_functions(client)
    say("the store's functions")
    return ratios


def echo(services: OverheadServices, say: Say) -> Ratio:
    """Jobs a second of the echo engine through one worker; tasks through bare Celery."""
    services.start_worker(WIDE)
    ours, bare = [], []
    for _ in range(DRAINS):
        ours.append(worker.drain(services, DRAINED))
        bare.append(worker.drain_bare(services, DRAINED))
        say(f"{ours[-1]:,.0f} jobs/s, {bare[-1]:,.0f} bare tasks/s")
    return ratio("echo", "bare_celery_tasks", ours, bare)


def store_functions(client: Any) -> list[Ratio]:
    """Time of the record server's main thread for one call, many in an exchange; for a hundred plain SETs."""
    # The first round loads the library.
    rounds = [_round_us(client) for _ in range(ROUNDS + 1)][1:]
    sets = [one.pop("hundred_sets") for one in rounds]
    return [ratio(name, "hundred_sets", sets, [one[name] for one in rounds]) for name in rounds[0]]


def _round_us(client: Any) -> dict[str, float]:
    """Take jobs from their submission to a reading of their answer; return the microseconds of each call."""
    store, lane, took_us = Store(client), jobs.lane_of(MODEL), dict[str, float]()
    digests = [secrets.token_hex(32) for _ in range(STORE_JOBS)]
    placings = [
        jobs.placing(MODEL, caller, hash=digest, key=f"{caller}:{digest}", cost=1, request=REQUEST)
        for caller, digest in ((f"caller-{at % 100}", digest) for at, digest in enumerate(digests))
    ]

    def timed(name: str, calls: Sequence[ScriptCall[Any]]) -> list[Any]:
        began = thread_s(client)
        replies = store.run_all(calls)
        took_us[name] = (thread_s(client) - began) / len(calls) * 1e6
        return replies

    store.run(jobs.beat("w", lane, rows=8, slots=10))
    timed("store_submit", [admission.submit(one, jobs.SETTINGS, uploaded=True) for one in placings])
    claimed = timed("store_claim", [jobs.claim(f"w{at}", lane) for at in range(STORE_JOBS)])
    answer = jobs.answer("A red square. " * 20, tokens=3)
    timed("store_settle", [jobs.settle(claim, answer) for claim in claimed])
    timed("store_read", [view(jobs.SETTINGS, one.caller, one.job) for one in placings])
    exchange = client.pipeline(transaction=False)
    for at in range(STORE_SETS):
        exchange.set(f"plain:{at % STORE_JOBS}", REQUEST)
    began = thread_s(client)
    exchange.execute()
    return took_us | {"hundred_sets": (thread_s(client) - began) / STORE_SETS * 100e6}


def table(ratios: Sequence[Ratio], committed: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """Show each ratio next to the committed one."""
    before = {row["name"]: row["value"] for row in committed.get("ratios", [])}
    lines = [f"{'':22}{'over':22}{'ratio':>7}{'low':>7}{'high':>7}{'committed':>11}"]
    for row in ratios:
        rounds = f"{row.value:7.3f}{row.low:7.3f}{row.high:7.3f}"
        lines.append(f"{row.name:22}{row.baseline:22}{rounds}{change(row.value, before.get(row.name))}")
    if committed:
        lines.append(f"committed: taken {committed['date'][:10]} at {committed['commit']}")
        if (cpu := committed["machine"]["cpu"]) != machine["cpu"]:
            lines.append(f"on another processor ({cpu}): compare with a run of your own")
    return "\n".join(lines)


def change(now: float, before: float | None) -> str:
    if before is None:
        return f"{'none yet':>11}"
    fall = 1 - now / before
    remark = f"fell by {100 * fall:.0f} %: explain or mend" if fall > TOLERANCE else ""
    return f"{before:11.3f}  {remark}".rstrip()


def commit() -> str:
    """Return the commit that is checked out, with a plus if files were changed since."""
    line = ("git", "describe", "--always", "--exclude=*", "--abbrev=8", "--dirty=+")
    try:
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "no commit"


if __name__ == "__main__":
    sys.exit(main())
