"""Whether every webhook is called: twenty minutes, most of them for a receiver that hangs.

Jobs are submitted while receivers fail, hang, restart or want no more, and couriers are killed, until no
delivery is left.
"""

import asyncio
import json
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from matplotlib.figure import Figure

from benchmarks.frame import command, report
from benchmarks.frame.services import Installation, free_port, opened
from benchmarks.frame.statistics import Bound, percentiles
from benchmarks.webhooks.checker import DeliveredJob, given_up, judge
from benchmarks.webhooks.receivers import BEHAVIOURS, HOST, Received, read, until_delivered
from shared.webhooks import new_secret

JOBS, RATE, SEED = 2000, 20, 1
MODEL = "told/echo"
COURIERS = ("courier-1", "courier-2")
LIMIT_S = 1.0
DELAYS_S = (0.5, 1, 2, 4, 8)
"""Shorter than the defaults, so that many attempts fit into a run; the rest is as shipped."""
ENVIRONMENT = {
    "SIGHTLINE_FETCH__ALLOW": HOST,
    "SIGHTLINE_WEBHOOK__LIMIT_S": f"{LIMIT_S:g}",
    "SIGHTLINE_WEBHOOK__DELAYS_S": ",".join(f"{pause:g}" for pause in DELAYS_S),
}
MODELS = f'[[models]]\nid = "{MODEL}"\nengine = "echo"\nrows = 16\noptions = {{ step_s = 0.001 }}\n'
SHARES = {"steady": 30, "flaky": 30, "hangs": 14, "restarts": 20, "gone": 4, "dead": 2}
"""How many of a hundred jobs have their webhook at each kind of receiver."""
KILL_S = 5.0
STUCK_S = 180.0
"""The wait ends after this long without a call."""
SECRET = new_secret()
NONE = ("lost", "torn", "forged", "unasked", "misreported")
PROMPT_S = 5.0
"""A receiver that takes all is called within this, nine times in ten, while all others misbehave."""


class WebhookServices(Installation):
    """A record server, an API process, a worker, couriers that are killed, and the receivers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODELS, ENVIRONMENT)
        self._port = free_port()
        self._ports = dict(zip(BEHAVIOURS, (free_port() for _ in BEHAVIOURS), strict=True))
        self.url = f"http://127.0.0.1:{self._port}"
        self.calls = folder / "calls.jsonl"
        """Where the receivers record what they got."""

    def receiver(self, behaviour: str) -> str:
        return f"http://{HOST}:{self._ports[behaviour]}/told"

    def start(self) -> None:
        self.add(self.records)
        self.calls.touch()
        argv = (str(self.calls), str(SEED), *map(str, self._ports.values()))
        self.run("receivers", sys.executable, "-m", "benchmarks.webhooks.receivers", *argv)
        self.api(self._port)
        self.worker()
        for name in COURIERS:
            self.courier(name, restarts=True)
        self.wait_until(f"{self.url}/ready")


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    with opened(WebhookServices) as services:
        jobs, kills = command.run(_run(services, arguments.jobs, say))
        lines = [line for name in COURIERS for line in services[name].lines()]
        calls = read(services.calls)
    counts, faults = judge(jobs, calls, given_up(lines), SECRET)
    waits = {name: some for name in BEHAVIOURS if (some := delays(calls, name))}
    figures: dict[str, Any] = {
        "jobs": len(jobs),
        "kills": kills,
        **{name: counts[name] for name in (*NONE, "calls", "taken", "refused", "given_up")},
        "end_to_taken_s": {name: percentiles(some, "p50", "p90") for name, some in waits.items()},
        "findings": faults[:50],
    }
    bounds = [Bound(name, figures[name], 0, "calls") for name in NONE]
    if steady := figures["end_to_taken_s"].get("steady"):
        bounds.append(Bound("steady: end to taken, p90", steady["p90"], PROMPT_S, "s"))
    return report.Findings(figures, _picture(waits), bounds, summary=str(figures))


async def _run(services: WebhookServices, count: int, say: command.Say) -> tuple[list[DeliveredJob], int]:
    """Return the jobs once their webhooks were called, and how often a courier was killed."""
    async with httpx.AsyncClient(base_url=services.url, trust_env=False, timeout=60) as client:
        kills: list[str] = []
        killer = asyncio.create_task(_kill_couriers(services, kills))
        submitted = await _submit_all(client, services, count)
        say(f"{len(submitted)} jobs submitted")
        with services.records.client() as redis:
            await until_delivered(redis, services.calls, STUCK_S)
        killer.cancel()
        jobs = []
        for job, behaviour in submitted.items():
            state = (await client.get(f"/v1/jobs/{job}")).raise_for_status().json()
            jobs.append(DeliveredJob(job, behaviour, state["webhook"]["delivered_at"] is not None))
        return jobs, len(kills)


async def _kill_couriers(services: WebhookServices, kills: list[str]) -> None:
    """Kill one after the other, without end."""
    while True:
        for name in COURIERS:
            await asyncio.sleep(KILL_S)
            services[name].send(signal.SIGKILL)
            kills.append(name)


async def _submit_all(client: httpx.AsyncClient, services: WebhookServices, count: int) -> dict[str, str]:
    """Return the behaviour of each job's own receiver, by the job's id."""
    dice = random.Random(SEED)  # noqa: S311 - no secret
    submitted = {}
    for number, behaviour in enumerate(dice.choices(list(SHARES), list(SHARES.values()), k=count)):
        webhook = {"url": services.receiver(behaviour), "secret": SECRET}
        body = {"model": MODEL, "input": {"prompt": f"Tell {number} apart."}, "webhook": webhook}
        reply = (await client.post("/v1/jobs", json=body)).raise_for_status()
        submitted[str(reply.json()["id"])] = behaviour
        await asyncio.sleep(1 / RATE)
    return submitted


def delays(calls: Sequence[Received], behaviour: str) -> list[float]:
    """Return the seconds from each job's end until its own receiver first took the call."""
    first: dict[str, float] = {}
    for call in calls:
        if call.behaviour == behaviour and call.status == 204:
            ended = float(json.loads(call.body)["data"]["ended_at"])
            first.setdefault(call.id, call.at - ended)
    return list(first.values())


def _picture(waits: Mapping[str, Sequence[float]]) -> Figure:
    figure, panel = report.figure(size=(6, 4))
    for behaviour, some in waits.items():
        panel.ecdf(some, label=behaviour)
    what = "from a job's end until its receiver took the call, s"
    report.label(panel, what, "share of the calls", log=True)
    return figure


if __name__ == "__main__":
    command.main("webhooks", __doc__, measure, jobs=(JOBS, "jobs submitted"))
