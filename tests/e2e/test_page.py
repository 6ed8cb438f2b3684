"""The page in a real browser: a person asks, sees the answer come, and sees the queue.

Needs Chromium (Debian: `apt install chromium`); SIGHTLINE_PICTURES=1 writes the pictures of the docs anew.
"""

import os
from typing import Literal

from playwright.sync_api import Page, ViewportSize, expect

from tests.e2e.conftest import ECHO, SLOW, TINY
from tests.support.browser import ask
from tests.support.clients import Api
from tests.support.service import ROOT, Service

DOCS = ROOT / "docs" / "images"
PHONE: ViewportSize = {"width": 375, "height": 740}


def keep(page: Page, name: str) -> None:
    """A picture for the docs, where somebody asked for them."""
    if os.environ.get("SIGHTLINE_PICTURES"):
        DOCS.mkdir(exist_ok=True)
        page.screenshot(path=DOCS / name)


def test_a_sample_picture_is_asked_about_and_the_second_time_the_cache_answers(page: Page) -> None:
    page.click("#samples button >> nth=0")
    expect(page.locator("#preview")).to_be_visible()
    ask(page, TINY, "What shapes are in this picture?")
    expect(page.locator("#status")).to_have_text("succeeded")
    expect(page.locator("#answer")).to_contain_text("triangle")
    ask(page, TINY, "What shapes are in this picture?")
    expect(page.locator("#cache")).to_have_text("HIT")
    expect(page.locator("#jobs tr >> nth=0")).to_contain_text("HIT")
    keep(page, "page.png")
    page.emulate_media(color_scheme="dark")
    keep(page, "page-dark.png")


def test_text_is_seen_while_it_is_made_and_cancelling_stops_it(page: Page, api: Api) -> None:
    ask(page, SLOW, "say a very long answer " * 40)
    expect(page.locator("#answer")).not_to_be_empty()
    expect(page.locator("#status")).to_have_text("running")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("cancelled")
    assert api.get("/v1/jobs?limit=1").json()["data"][0]["status"] == "cancelled"


def test_a_stream_goes_on_where_the_service_was_killed_and_came_back(page: Page, service: Service) -> None:
    words = " ".join(f"word{number}" for number in range(25))
    ask(page, SLOW, words)
    expect(page.locator("#answer")).to_contain_text("word3")
    service.kill("api")
    service.ready("api")
    expect(page.locator("#status")).to_have_text("succeeded")
    expect(page.locator("#answer")).to_contain_text(words)


def test_a_job_shows_its_attempts_on_a_timeline(page: Page, api: Api) -> None:
    ask(page, ECHO, "how long did it take")
    expect(page.locator("#status")).to_have_text("succeeded")
    newest = api.get("/v1/jobs?limit=1").json()["data"][0]["id"]
    page.click(f'#jobs button[data-job="{newest}"]')
    expect(page.locator("#job-body")).to_contain_text("Attempts")
    expect(page.locator("#job svg.timeline rect.run")).to_have_count(1)
    keep(page, "page-job.png")
    page.keyboard.press("Escape")
    expect(page.locator("#job")).not_to_be_visible()


def test_the_queue_shows_what_waits_and_which_workers_live(page: Page, api: Api) -> None:
    api.post("/v1/admin/models/" + ECHO + "/pause")
    try:
        waiting = {"model": ECHO, "input": {"prompt": "wait"}, "priority": "batch"}
        job = api.post("/v1/jobs", json=waiting).json()["id"]
        line = page.locator(".model", has_text=ECHO)
        expect(line.locator(".badge")).to_have_text("paused")
        expect(line.locator(".bar", has_text="batch").locator("b")).to_have_text("1")
        expect(line.locator("tbody tr")).to_have_count(1)
        api.post(f"/v1/jobs/{job}/cancel")
    finally:
        api.post("/v1/admin/models/" + ECHO + "/resume")


def test_the_list_is_narrowed_to_the_jobs_looked_for(page: Page) -> None:
    ended = page.locator("#jobs tr", has_text="succeeded")
    ask(page, ECHO, "one that ends")
    expect(ended).not_to_have_count(0)
    page.select_option("#by-status", "cancelled")
    expect(ended).to_have_count(0)
    page.select_option("#by-status", "succeeded")
    expect(ended).not_to_have_count(0)


def test_what_a_model_says_is_text_and_never_markup(page: Page) -> None:
    ask(page, ECHO, "<img src=x onerror=alert(1)><b>bold</b>")
    expect(page.locator("#status")).to_have_text("succeeded")
    expect(page.locator("#answer")).to_contain_text("<b>bold</b>")
    expect(page.locator("#answer *")).to_have_count(0)


def test_a_refusal_says_what_to_do(page: Page) -> None:
    page.fill("#url", "http://10.0.0.1/x.png")
    ask(page, ECHO, "what is there")
    expect(page.locator("#status")).to_have_text("failed")
    expect(page.locator("#answer")).not_to_be_empty()


def test_it_fits_a_phone_by_day_and_by_night(page: Page) -> None:
    page.set_viewport_size(PHONE)
    schemes: tuple[Literal["dark", "light"], ...] = ("dark", "light")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        expect(page.locator(".model").first).to_be_visible()
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    keep(page, "page-phone.png")


def test_the_api_is_described_in_the_browser_and_its_examples_run(page: Page, service: Service) -> None:
    """From the service's own files: what it asks of others, or its policy forbids, fails the test."""
    page.goto(f"{service.url()}/docs")
    submit = page.locator(".opblock-post", has=page.locator("[data-path='/v1/jobs']"))
    submit.locator(".opblock-summary").click()
    submit.locator("button.execute").click()
    expect(submit.locator(".live-responses-table tbody .response-col_status")).to_have_text("202")
    page.get_by_role("textbox", name="Filter by tag or path").fill("batches")
    expect(page.locator(".opblock-tag")).to_have_count(1)
