"""The page's pictures in the documents, taken anew of a real service: `make screenshots`. Needs Chromium."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.e2e.conftest import ENV, TINY
from tests.support.browser import CHROMIUM, ask, status, view
from tests.support.clients import Api, until
from tests.support.service import COURIER, ROOT, Service, running_service

FOLDER = ROOT / "docs" / "images"
DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 780}
SAMPLES = ("shapes", "dots", "word", "sign")
QUESTIONS = ("What shapes are in this picture?", "What color is the background?", "Is there a star?")
PRIORITIES = ("interactive", "normal", "normal", "batch")
MODELS = (ROOT / "models.toml").read_text(encoding="utf-8").replace("models/tiny", str(ROOT / "models/tiny"))
POINTS = 6
"""So many points the charts have, ten seconds each."""
AT_ONCE, IN_LINE = 24, 120


def main() -> None:
    with running_service(MODELS, ENV) as service:
        service.start("api", COURIER, TINY)
        service.ready("api", COURIER, TINY)
        with Api(service.url()) as api, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            answer_questions(api)
            for dark in (False, True):
                take(browser, service, api, "-dark" if dark else "")


def answer_questions(api: Api) -> None:
    """Jobs for the list, and something for the charts to show."""

    def ask_all() -> bool:
        for job in submit_all(api):
            api.ended(job)
        points = api.get("/v1/admin/series").json()["models"][TINY]["tokens_per_s"]
        return len([value for value in points if value]) >= POINTS

    until(ask_all, 180)


def submit_all(api: Api) -> list[str]:
    """Jobs that are computed, whatever the cache has."""
    ids = []
    for number in range(AT_ONCE):
        name, question = SAMPLES[number % len(SAMPLES)], QUESTIONS[number % len(QUESTIONS)]
        image = base64.b64encode((ROOT / "api/page" / f"{name}.png").read_bytes()).decode()
        body = {
            "model": TINY,
            "input": {"prompt": question, "image": image},
            "priority": PRIORITIES[number % len(PRIORITIES)],
        }
        submitted = api.post("/v1/jobs", json=body, headers={"x-use-cache": "false"})
        ids.append(str(submitted.json()["id"]))
    return ids


def take(browser: Browser, service: Service, api: Api, ending: str) -> None:
    with opened(browser, service, DESK, ending) as page:
        page.select_option("#priority", "batch")
        page.click("#settings-open")
        page.check("#fresh")
        with ThreadPoolExecutor(8) as pool:
            parts = pool.map(lambda _: submit_all(api), range(IN_LINE // AT_ONCE))
            before = [job for part in parts for job in part]
        page.click("#samples button >> nth=0")
        expect(page.locator(".queue .me")).to_be_visible()
        picture(page, f"page-waiting{ending}.png")
        for job in before:
            api.post(f"/v1/jobs/{job}/cancel")
        status(page, "succeeded")
    with opened(browser, service, DESK, ending) as page:
        page.click("#samples button >> nth=0")
        status(page, "succeeded")
        ask(page, TINY, "What color is the square?")
        expect(page.locator(".turn")).to_have_count(2)
        status(page, "succeeded")
        picture(page, f"page{ending}.png")
        view(page, "jobs")
        expect(page.locator(".job-row .pic img").first).to_be_visible()
        expect(page.locator(".job-row .pic .icon")).to_have_count(0)
        picture(page, f"page-jobs{ending}.png")
        page.click(".job-row .words >> nth=0")
        expect(page.locator("#drawer .shots img")).to_be_visible()
        picture(page, f"page-job{ending}.png")
        view(page, "operations")
        # A line that stands still for its picture.
        page.click(".model [data-do=pause]")
        expect(page.locator(".model header .state")).to_have_text("Paused")
        submitted = submit_all(api)
        expect(page.locator(".sum b")).to_have_text(f"{AT_ONCE} waiting")
        expect(page.locator("#nav .count")).to_contain_text(str(AT_ONCE))
        for choice in ("5", "tokens_per_s"):
            page.click(f".chart [data-value='{choice}']")
        expect(page.locator("#toasts p")).to_have_count(0)
        picture(page, f"page-operations{ending}.png")
        page.click(".model [data-do=resume]")
        for job in submitted:
            api.ended(job)
    with opened(browser, service, PHONE, ending) as page:
        page.click("#samples button >> nth=1")
        status(page, "succeeded")
        picture(page, f"page-phone{ending}.png")


@contextmanager
def opened(browser: Browser, service: Service, size: ViewportSize, ending: str) -> Iterator[Page]:
    with browser.new_context(
        viewport=size,
        color_scheme="dark" if ending else "light",
        reduced_motion="reduce",
        is_mobile=size is PHONE,
        has_touch=size is PHONE,
    ) as context:
        page = context.new_page()
        page.goto(service.url())
        expect(page.locator("#model option")).not_to_have_count(0)
        yield page


def picture(page: Page, name: str) -> None:
    # A frame later all has been painted.
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.screenshot(path=FOLDER / name)


if __name__ == "__main__":
    main()
