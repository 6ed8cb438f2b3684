"""A document of 1,000 pages, asked page by page while a fault strikes every second: some minutes.

Workers, APIs, couriers and the record server are killed, paused and cut off from each other until the job
has ended. Then each page's answer is held against the only right one. The same document is asked again, and
once more with another page in the place of one.
"""

import asyncio
import io
import itertools
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.chaos import services
from benchmarks.chaos.faults import OPERATIONS, FaultInjector, InjectedFault, plan
from benchmarks.chaos.history import MODEL, History
from benchmarks.chaos.operations import Operations
from benchmarks.chaos.receiver import HOSTS
from benchmarks.chaos.services import ChaosServices
from benchmarks.frame import command, report
from benchmarks.frame.services import opened as opened_services
from benchmarks.frame.statistics import Bound
from benchmarks.webhooks.receivers import read

PAGES, SEED, MOST_FAULTS = 1000, 1, 3600
SIDE, WIDTHS = 40, 50
"""Page n is as wide and high in points as its number says, from SIDE on: its answer names its size."""
DOTS = 300 / 72
LOOK_S, LIMIT_S, WEBHOOK_S = 0.5, 3000.0, 120.0
QUESTION = "What?"
SECRET = "a secret of the pages' own"  # noqa: S105 - a benchmark's
Size = tuple[int, int]


@dataclass(frozen=True)
class Outcome:
    """`steps` are pages that had ended, by seconds since the job was made.

    `repeat` and `replacement` count the pages computed when it was asked again, and with another page.
    """

    job: dict[str, Any]
    rows: list[dict[str, Any]]
    faults: Sequence[InjectedFault]
    start: float
    steps: Sequence[tuple[float, int]]
    estimate_s: float | None
    webhooks: int
    repeat: int
    replacement: int


class Caller:
    """Asks whichever API answers, again and again: each of its calls is safe to repeat."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = itertools.cycle(urls)
        headers = {"authorization": f"Bearer {services.ADMIN_KEY}"}
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.AsyncClient(timeout=30, headers=headers, limits=limits, trust_env=False)

    async def call(self, method: str, path: str, **how: Any) -> httpx.Response:
        """The first answer that is no refusal for now. Raises RuntimeError for another refusal."""
        for url in self._urls:
            try:
                reply = await self._http.request(method, url + path, **how)
            except httpx.TransportError:
                await asyncio.sleep(LOOK_S)
                continue
            if reply.status_code < 300:
                return reply
            if reply.status_code < 500 and reply.status_code != 429:
                raise RuntimeError(f"{path}: {reply.status_code} {reply.text}")
            await asyncio.sleep(LOOK_S)
        raise AssertionError

    async def submit(self, sizes: Sequence[Size], key: str, hook: str | None = None) -> dict[str, Any]:
        form = {"files": {"file": ("pages.pdf", _document(sizes))}, "data": {"purpose": "user_data"}}
        file = (await self.call("POST", "/v1/files", **form)).json()["id"]
        document = {"file": file, "per": "page"}
        body: dict[str, Any] = {"model": MODEL, "input": {"prompt": QUESTION}, "document": document}
        if hook:
            body["webhook"] = {"url": hook, "secret": SECRET}
        answer = await self.call("POST", "/v1/jobs", json=body, headers={"idempotency-key": key})
        return dict(answer.json())

    async def end(self, job: dict[str, Any], steps: list[tuple[float, int]]) -> dict[str, Any]:
        start = time.monotonic()
        while job["ended_at"] is None:
            if time.monotonic() - start > LIMIT_S:
                raise TimeoutError("the job did not end")
            await asyncio.sleep(LOOK_S)
            job = (await self.call("GET", job["urls"]["self"])).json()
            steps.append((time.monotonic() - start, job["pages"]["succeeded"] + job["pages"]["failed"]))
        return job

    async def rows(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        text = (await self.call("GET", job["urls"]["pages"])).text
        return [json.loads(line) for line in text.splitlines()]

    async def misses(self, rows: Sequence[dict[str, Any]]) -> int:
        """How many of these rows' answers came from no cache."""
        count = 0
        for row in rows:
            count += (await self.call("GET", f"/v1/jobs/{row['job']}")).json()["cache"] != "HIT"
        return count


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    with opened_services(ChaosServices) as opened:
        say(f"everything serves: {arguments.pages} pages")
        outcome = command.run(_run(opened, arguments, say))
    figures = _figures(outcome, arguments.pages)
    return report.Findings(figures, _picture(outcome), _bounds(figures), summary=str(figures))


async def _run(opened: ChaosServices, arguments: command.Options, say: command.Say) -> Outcome:
    caller, sizes = Caller(opened.urls), [_size(number) for number in range(arguments.pages)]
    steps, over, start = list[tuple[float, int]](), asyncio.Event(), time.time()
    async with httpx.AsyncClient() as http:
        injector = FaultInjector(opened, Operations(opened, http, http, History([])))
        faults = plan(arguments.seed, MOST_FAULTS, services.QUEUE["lease_s"])
        strikes = injector.run((fault for fault in faults if fault.kind not in OPERATIONS), over)
        strike = asyncio.create_task(strikes)
        hook = f"http://{HOSTS[0]}:{opened.hook_port}/webhook"
        submitted = await caller.submit(sizes, "first", hook)
        job = await caller.end(submitted, steps)
        over.set()
        await strike
    say(f"ended after {steps[-1][0]:.0f} s and {len(injector.landed)} faults")
    rows = await caller.rows(job)
    webhooks = await _webhooks(opened, job["id"])
    say("asked again, and with another page")
    repeat = await caller.end(await caller.submit(sizes, "again"), [])
    sizes[len(sizes) // 2] = (SIDE - 1, SIDE - 1)
    replacement = await caller.end(await caller.submit(sizes, "replaced"), [])
    counts = [await caller.misses(await caller.rows(one)) for one in (repeat, replacement)]
    estimate_s = submitted.get("ends_in_s")
    return Outcome(job, rows, tuple(injector.landed), start, steps, estimate_s, webhooks, *counts)


async def _webhooks(opened: ChaosServices, job: str) -> int:
    """Calls of its webhook, repeats not counted."""
    until = time.monotonic() + WEBHOOK_S
    while not (ids := {call.id for call in read(opened.calls) if job in call.id}):
        if time.monotonic() > until:
            return 0
        await asyncio.sleep(LOOK_S)
    return len(ids)


def _size(number: int) -> Size:
    return SIDE + number % WIDTHS, SIDE + number // WIDTHS


def _document(sizes: Sequence[Size]) -> bytes:
    pages, file = [Image.new("RGB", size, "navy") for size in sizes], io.BytesIO()
    pages[0].save(file, "PDF", save_all=True, append_images=pages[1:], resolution=72)
    return file.getvalue()


def _is_of(row: dict[str, Any], number: int) -> bool:
    """Whether an answer is about page `number`, from 0, whose sides are rounded to whole dots."""
    sides = row.get("text", "").removeprefix(f"{QUESTION} [").removesuffix("]").split("x")
    return [round(int(side) / DOTS) for side in sides if side.isdigit()] == [*_size(number)]


def _figures(outcome: Outcome, count: int) -> dict[str, Any]:
    numbers = [row["page"] for row in outcome.rows]
    pages = Counter(numbers)
    return {
        "pages": count,
        "lost": sum(number not in pages for number in range(1, count + 1)),
        "doubled": sum(count - 1 for count in pages.values()),
        "failed": sum(row["status"] != "succeeded" for row in outcome.rows),
        "wrong": sum(
            row["status"] == "succeeded" and not _is_of(row, row["page"] - 1) for row in outcome.rows
        ),
        "out_of_order": int(numbers != sorted(numbers)),
        "computed_again": outcome.repeat,
        "computed_with_one_replaced": outcome.replacement,
        "webhooks": outcome.webhooks,
        "status": outcome.job["status"],
        "took_s": round(outcome.steps[-1][0], 1),
        "estimate_s": outcome.estimate_s,
        "faults": dict(Counter(fault.kind for fault in outcome.faults).most_common()),
        "errors": dict(Counter(row["error"]["code"] for row in outcome.rows if "error" in row)),
        "settings": services.QUEUE,
    }


def _bounds(figures: dict[str, Any]) -> list[Bound]:
    none = ("lost", "doubled", "failed", "wrong", "out_of_order", "computed_again")
    return [
        *(Bound(name.replace("_", " "), figures[name], 0, "pages") for name in none),
        Bound("computed with one page replaced", figures["computed_with_one_replaced"], 1, "pages"),
        Bound("calls of its webhook, repeats not counted", figures["webhooks"], 1, "", at_least=True),
    ]


def _picture(outcome: Outcome) -> Figure:
    """How the job went next to the faults."""
    figure, panel = report.figure()
    panel.plot([at for at, _ in outcome.steps], [done for _, done in outcome.steps], label="pages done")
    for fault in outcome.faults:
        if fault.name == "redis":
            panel.axvspan(
                fault.at - outcome.start, fault.until - outcome.start, color=report.SERIES[3], alpha=0.3
            )
    report.label(panel, "s since the job was submitted (red: Redis hit)", "pages")
    return figure


if __name__ == "__main__":
    command.main(
        "chaos.pages",
        __doc__,
        measure,
        pages=(PAGES, "of the document, at most 1000"),
        seed=(SEED, "of the faults"),
    )
