"""The page in Chromium: its first load, and 5,000 jobs scrolled through: four minutes.

A real service answers the jobs before. Scrolls of as many plain lines take turns with the list's: frames
that they drop are the machine's own.
"""

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from matplotlib.figure import Figure
from playwright.sync_api import Browser, CDPSession, Page, ViewportSize, expect, sync_playwright

from benchmarks.frame import command, report
from benchmarks.frame.services import ROOT, Installation, free_port, opened
from benchmarks.frame.statistics import Bound, ratio, summary
from tests.support.browser import CHROMIUM, view

JOBS, ROUNDS, LOADS = 5000, 5, 9
MODEL = "bench/echo"
MODELS = f'[[models]]\nid = "{MODEL}"\nengine = "echo"\nrows = 16\n'
UNLIMITED = {"SIGHTLINE_QUEUE__MAX_QUEUED": "10000", "SIGHTLINE_QUEUE__MAX_QUEUED_CALLER": "10000"}
PICTURE = base64.b64encode((ROOT / "api/page/shapes.png").read_bytes()).decode()
WINDOW: ViewportSize = {"width": 1440, "height": 900}
SPEED_PX_S, STROKE_PX, STROKES = 6000, 12_000, 6
"""Ninety rows a second: nobody reads so fast."""
ANSWER_LIMIT_S = 300
FRAME_MS, LONG_MS = 1000 / 60, 50
LIMIT_BYTES, LIMIT_REQUESTS, LIMIT_PAINT_MS, LIMIT_LONG = 150_000, 60, 1000, 0.01
OPEN = ("queued", "running")
DATA = ("*/v1/*", "*/ready")
"""What the page asks of the service; the rest are its own files."""
FRAMES = """() => {
  let last = 0;
  const frame = (at) => {
    if (last) window.frames_ms.push(at - last);
    last = at;
    if (window.counted) requestAnimationFrame(frame);
  };
  Object.assign(window, { frames_ms: [], counted: true });
  requestAnimationFrame(frame);
}"""
PLAIN = """(count) => {
  document.documentElement.style.overflow = "auto";
  for (let at = 0; at < count; at++) {
    const line = document.body.appendChild(document.createElement("div"));
    line.style.height = "66px";
    line.textContent = `Question ${at}`;
  }
}"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


@dataclass
class Scroll:
    """Gaps between frames while strokes of the wheel go on; the processor time of the page's main thread."""

    frames_ms: list[float] = field(default_factory=list)
    strokes: int = 0
    task_ms: float = 0.0

    @property
    def stroke_ms(self) -> float:
        return self.task_ms / self.strokes

    def figures(self) -> dict[str, Any]:
        lost = sum(round(ms / FRAME_MS) - 1 for ms in self.frames_ms if ms > 1.5 * FRAME_MS)
        return {
            "frames": len(self.frames_ms),
            "dropped": lost,
            "over_50_ms": sum(ms > LONG_MS for ms in self.frames_ms),
            "gap_ms": summary(self.frames_ms),
            "main_thread_ms_per_stroke": round(self.stroke_ms, 1),
        }


@dataclass(frozen=True)
class Load:
    """A first load: bytes and requests until the page knows its models; the first paint, in ms."""

    bytes: int
    requests: int
    paint_ms: float


class PageServices(Installation):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODELS, UNLIMITED)
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.add(self.records)
        self.worker()
        self.courier()
        self.api(self.port)
        self.wait_until(f"{self.url}/models/{MODEL}/health")


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    with opened(PageServices) as services, chromium() as browser:
        loads = {
            "with data": [load(browser, services.url) for _ in range(LOADS)],
            "without": [load(browser, services.url, blocked=DATA) for _ in range(LOADS)],
        }
        say(f"loaded: {loads['with data'][-1]}")
        answer_jobs(services.url, arguments.jobs)
        say(f"{arguments.jobs:,} jobs are answered")
        reading, scrolls = scroll_all(browser, services.url, arguments.jobs, arguments.rounds, say)
    first = loads["with data"][0]
    paints = {name: median(one.paint_ms for one in some) for name, some in loads.items()}
    figures = {
        "jobs": arguments.jobs,
        "load": {"bytes": first.bytes, "requests": first.requests, "paint_ms": paints},
        "list_read_as_it_scrolls": reading.figures(),
        **{side: _whole(some).figures() for side, some in scrolls.items()},
    }
    picture = _picture(reading, scrolls, loads)
    return report.Findings(figures, picture, _bounds(figures), [_ratio(scrolls)])


def _bounds(figures: dict[str, Any]) -> list[Bound]:
    first, scrolls = figures["load"], {"list_read_as_it_scrolls": ", first scroll", "list": ""}
    return [
        Bound("first load", first["bytes"], LIMIT_BYTES, "bytes"),
        Bound("first load", first["requests"], LIMIT_REQUESTS, "requests"),
        Bound("first paint, no data answered", first["paint_ms"]["without"], LIMIT_PAINT_MS, "ms"),
        *(
            Bound(f"frames over 50 ms{name}", some["over_50_ms"] / some["frames"], LIMIT_LONG, "of all")
            for some, name in ((figures[side], name) for side, name in scrolls.items())
        ),
    ]


def _ratio(scrolls: Mapping[str, Sequence[Scroll]]) -> Any:
    ours, plain = ([1 / one.stroke_ms for one in scrolls[side]] for side in ("list", "plain"))
    return ratio("strokes_per_cpu_second", "plain_lines", ours, plain)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def load(browser: Browser, url: str, *, blocked: Sequence[str] = ()) -> Load:
    """In a context of its own, with an empty cache. What is blocked is never answered."""
    with browser.new_context(viewport=WINDOW) as context:
        page = context.new_page()
        session, sizes, urls = context.new_cdp_session(page), [], []
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        session.on("Network.requestWillBeSent", lambda event: urls.append(event["request"]["url"]))
        session.send("Network.enable")
        session.send("Network.setBlockedURLs", {"urls": list(blocked)})
        page.goto(url)
        if not blocked:
            expect(page.locator("#model option")).not_to_have_count(0)
        page.wait_for_function(PAINT)
        web = [one for one in urls if not one.startswith("data:")]
        return Load(round(sum(sizes)), len(web), page.evaluate(PAINT))


def answer_jobs(url: str, count: int) -> None:
    """Each question is its own; a quarter has a picture. Raises TimeoutError."""
    with httpx.Client(base_url=url, timeout=60) as client:
        for number in range(count):
            picture = {} if number % 4 else {"image": PICTURE}
            question = {"prompt": f"What stands on shelf {number} of the shop?", **picture}
            client.post("/v1/jobs", json={"model": MODEL, "input": question}).raise_for_status()
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while any(client.get("/v1/jobs", params={"status": s, "limit": 1}).json()["data"] for s in OPEN):
            if time.monotonic() > deadline:
                raise TimeoutError("the jobs were not answered")
            time.sleep(0.2)


def scroll_all(
    browser: Browser, url: str, jobs: int, rounds: int, say: command.Say, strokes: int = STROKES
) -> tuple[Scroll, dict[str, list[Scroll]]]:
    """The list as it is read for the first time; then, it and plain lines in turn, up and down."""
    with browser.new_context(viewport=WINDOW) as context:
        ours, plain = _list(context.new_page(), url), context.new_page()
        plain.evaluate(PLAIN, jobs)
        sides = {"list": ours, "plain": plain}
        ours.bring_to_front()
        reading = scroll(ours, 1, until=f"{jobs:,} jobs")
        say(f"read to its end: {reading.figures()}")
        scrolls: dict[str, list[Scroll]] = {side: [] for side in sides}
        for number in range(rounds):
            for side, page in sides.items():
                page.bring_to_front()
                scrolls[side].append(scroll(page, 1 if number % 2 else -1, strokes=strokes))
            say(f"round {number + 1}: {scrolls['list'][-1].figures()}")
        return reading, scrolls


def _list(page: Page, url: str) -> Page:
    page.goto(url)
    view(page, "jobs")
    expect(page.locator(".job-row").first).to_be_visible()
    return page


def scroll(page: Page, way: int, *, strokes: int = STROKES, until: str = "") -> Scroll:
    """So many strokes down (1) or up (-1); more, until the list's note says `until`."""
    session, result = page.context.new_cdp_session(page), Scroll()
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = _task_ms(session)
    page.evaluate(FRAMES)
    while result.strokes < strokes or (until and page.text_content("#jobs-note") != until):
        _stroke(session, way)
        result.strokes += 1
    result.frames_ms = page.evaluate("() => { window.counted = false; return window.frames_ms; }")
    result.task_ms = _task_ms(session) - before
    session.detach()
    return result


def _stroke(session: CDPSession, way: int) -> None:
    gesture = {"x": WINDOW["width"] // 2, "y": WINDOW["height"] // 2, "speed": SPEED_PX_S}
    session.send("Input.synthesizeScrollGesture", gesture | {"yDistance": -way * STROKE_PX})


def _task_ms(session: CDPSession) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")


def _whole(scrolls: Sequence[Scroll]) -> Scroll:
    frames = [ms for one in scrolls for ms in one.frames_ms]
    return Scroll(frames, sum(one.strokes for one in scrolls), sum(one.task_ms for one in scrolls))


def _picture(
    reading: Scroll, scrolls: Mapping[str, Sequence[Scroll]], loads: Mapping[str, Sequence[Load]]
) -> Figure:
    figure, (left, right) = report.figure(2)
    sides = {"the list, first scroll": reading, "the list": _whole(scrolls["list"])}
    for name, one in {**sides, "plain lines": _whole(scrolls["plain"])}.items():
        report.shares(left, one.frames_ms, name)
    for name, some in loads.items():
        report.shares(right, [one.paint_ms for one in some], name)
    left.set_xlim(0, 2 * LONG_MS)
    report.label(left, "from one frame to the next, ms", "share of the frames")
    report.label(right, "until the first paint, ms", "share of the first loads")
    return figure


if __name__ == "__main__":
    command.main(
        "page", __doc__, measure, jobs=(JOBS, "jobs in the list"), rounds=(ROUNDS, "scrolls of each side")
    )
