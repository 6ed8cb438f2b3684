"""The page's states, each of which says what to do, and its list of jobs at length; in a browser."""

import json
import re
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.conftest import ECHO
from tests.support.browser import (
    NOTHING,
    ROUND,
    answered,
    ask,
    attach_sample,
    held,
    hide,
    status,
    view,
    violations,
    watch,
)
from tests.support.clients import Api, until
from tests.support.service import Service

LISTS = ("**/v1/jobs?*", "**/v1/batches?*")
TOP = "document.getElementById('view-jobs').scrollTop"
BOTTOM = "document.getElementById('view-jobs').scrollTop = 1e9"


def test_an_empty_installation_says_what_a_job_is_and_how_to_begin(page: Page) -> None:
    for listed in LISTS:
        page.route(listed, lambda route: route.fulfill(json=NOTHING))
    page.route("**/fleet", lambda route: route.fulfill(json={"models": []}))
    view(page, "jobs")
    expect(page.locator("#job-list")).to_contain_text("No jobs yet")
    expect(page.locator("#job-list .code")).to_contain_text("curl")
    view(page, "operations")
    expect(page.locator("#operation-cards")).to_contain_text("No model is served")


def test_a_service_that_cannot_work_says_why(page: Page) -> None:
    away = (503, {"content-type": "application/json"}, '{"error":{"message":"The record store is away."}}')
    answered(page, "**/fleet", away, away, away)
    view(page, "jobs")
    expect(page.locator("#banner")).to_contain_text("The record store is away.")


def test_the_list_follows_what_the_service_tells(page: Page, api: Api) -> None:
    api.ended(api.submit(model=ECHO, input={"prompt": "there before"}))
    view(page, "jobs")
    page.clock.install(time=0)
    with page.expect_response("**/v1/live"):
        page.reload()
    expect(page.locator(".job-row")).not_to_have_count(0)
    # No timer ends any more: what is asked for from now on, an event has told of.
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    with page.expect_request("**/v1/jobs?*"):
        api.submit(model=ECHO, input={"prompt": "told of"})


def test_operations_move_from_when_they_are_opened(page: Page) -> None:
    page.clock.install(time=0)
    with page.expect_response("**/v1/live"):
        page.reload()
    page.clock.pause_at(3600)
    page.evaluate(ROUND)
    with page.expect_response("**/fleet"):
        view(page, "operations")
    page.evaluate(ROUND)
    with page.expect_request("**/fleet"):
        page.clock.run_for(9000)


def test_a_picture_and_the_words_of_a_question_find_its_job(page: Page) -> None:
    attach_sample(page)
    ask(page, ECHO, "Who painted the purple square?")
    status(page, "succeeded")
    unrelated = page.locator(".turn")
    expect(unrelated).to_have_count(1)
    view(page, "jobs")
    page.fill("#search", "PURPLE sq")
    row = page.locator(".job-row")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("Who painted the purple square?")
    expect(row.locator(".pic img")).to_be_visible()
    id = row.get_attribute("data-job") or ""
    page.fill("#search", id[:12])
    expect(row).to_have_count(1)
    row.locator(".words").click()
    expect(page.locator("#drawer .shots img")).to_be_visible()
    page.click("[data-do=edit-job]")
    expect(page.locator("#question")).to_have_value("Who painted the purple square?")
    expect(unrelated).to_have_count(0)
    expect(page.locator("#attached img")).to_be_visible()


def test_a_question_whose_picture_is_none_is_found_and_shows_where_it_was_to_come_from(
    page: Page, api: Api, service: Service
) -> None:
    url = f"{service.url()}/health"
    api.ended(api.submit(model=ECHO, input={"prompt": "Is this an orchid?", "image": url}))
    view(page, "jobs")
    page.fill("#search", "an orchid")
    row = page.locator(".job-row[data-status=failed]")
    expect(row).to_contain_text("Is this an orchid?")
    row.locator(".words").click()
    expect(page.locator("#drawer .address")).to_have_text(url)


def test_nothing_is_said_to_be_missing_before_it_was_looked_for(page: Page, api: Api) -> None:
    job = api.ended(api.submit(model=ECHO, input={"prompt": "kept, and read late"}))["id"]
    batches, asked = (held(page, path) for path in ("**/v1/batches?*", "**/request"))
    page.route("**/v1/jobs?*", lambda route: route.fulfill(json=NOTHING))
    with page.expect_response("**/v1/jobs?*"):
        view(page, "jobs")
    until(lambda: page.evaluate("1") and batches)
    page.evaluate(ROUND)
    page.evaluate("new Promise(requestAnimationFrame)")
    expect(page.locator("#job-list")).to_have_text("Reading…")
    batches[0].fulfill(json=NOTHING)
    expect(page.locator("#job-list")).to_contain_text("No jobs yet")
    view(page, f"jobs/{job}")
    page.click("[data-tab=program]")
    expect(page.locator("#panel")).to_have_text("Reading…")
    until(lambda: page.evaluate("1") and asked)
    asked[0].continue_()
    expect(page.locator("#panel .code")).to_be_visible()


def test_a_map_and_a_batch_are_a_row_each_with_their_progress(page: Page, api: Api) -> None:
    def new_batch(text: str) -> str:
        line = {"custom_id": "", "method": "POST", "url": "/v1/chat/completions"}
        body = {"model": ECHO, "messages": [{"role": "user", "content": text}]}
        lines = "\n".join(json.dumps(line | {"custom_id": str(n), "body": body}) for n in range(3))
        upload = api.post("/v1/files", files={"file": ("a.jsonl", lines)}, data={"purpose": "batch"}).json()
        asked = {"input_file_id": upload["id"], "endpoint": line["url"], "completion_window": "24h"}
        return str(api.post("/v1/batches", json=asked).json()["id"])

    new_batch("of a batch")
    mapped = {"priority": "batch", "metadata": {"map": f"{uuid4().hex[:16]}/4", "row": "cat.png"}}
    for n in range(2):
        api.ended(api.submit(model=ECHO, input={"prompt": f"of a map {n}"}, **mapped))
    view(page, "jobs")
    batch = page.locator(".job-row", has_text="Batch of 3 questions, 3 done")
    expect(batch.locator(".spent")).to_have_text("100%")
    with api.paused(ECHO):
        last = api.submit(model=ECHO, input={"prompt": "of a map 2"}, **mapped)
        row = page.locator(".job-row[data-status=queued]", has_text="Map of 4 questions, 2 done, 2 to go")
        expect(row.locator(".state")).to_have_text("WaitingThe model is paused")
        expect(row.locator(".by small")).to_have_text("Batch")
        expect(row.locator(".spent")).to_have_text("50%")
        expect(page.locator(f'.job-row[data-job="{last}"]')).to_have_count(0)
        assert violations(page) == []
        row.locator("input").check()
        row.locator("button").click()
        member = page.locator(f'.job-row[data-job="{last}"]')
        expect(member.locator(".words")).to_have_text("cat.png · of a map 2")
        member.locator("input").check()
        whole, other = new_batch("of a batch that is cancelled"), new_batch("of one that goes on")
        page.locator(f".job-row[data-key={whole}] input").check()
        expect(page.locator("[data-do=cancel-chosen]")).to_have_text("Cancel 2")
        page.click("[data-do=cancel-chosen]")
        row = page.locator(".job-row", has_text="Map of 4 questions, 2 done, 1 cancelled")
        expect(row.locator(".state")).to_have_text("Stopped or done")
        expect(row.locator(".spent")).to_have_text("75%")
        cancelled = page.locator(f".job-row[data-key={whole}]", has_text="Batch of 3 questions, 0 done")
        expect(cancelled.locator(".state")).to_have_text("Cancelled")
        expect(cancelled.locator(".spent")).to_have_text("0%")
        expect(page.locator(f".job-row[data-key={other}] .state")).to_contain_text("Waiting")


def test_an_empty_status_says_that_there_is_none(page: Page) -> None:
    view(page, "jobs")
    page.route("**/v1/jobs?*status=queued*", lambda route: route.fulfill(json=NOTHING))
    page.click("#by-status [data-status=failed]")
    page.click("#by-status [data-status=queued]")
    expect(page.locator("#job-list h2")).to_have_text("Nothing is waiting")
    page.click("[data-do=clear]:visible")
    expect(page.locator("#by-status [data-status='']")).to_have_attribute("aria-pressed", "true")


def test_each_status_says_how_many_jobs_of_the_search_have_it(page: Page, api: Api) -> None:
    done, stopped = (api.submit(model=ECHO, input={"prompt": f"counted {n}"}) for n in ("one", "two"))
    api.ended(done)
    api.ended(stopped)
    with api.paused(ECHO):
        waiting = api.submit(model=ECHO, input={"prompt": "counted three"})
        view(page, "jobs")
        page.fill("#search", "counted")
        expect(page.locator("#by-status button")).to_have_text(
            ["All 3", "Waiting 1", "Answering", "Done 2", "Failed", "Cancelled"]
        )
        page.click("#by-status [data-status=succeeded]")
        api.post(f"/v1/jobs/{waiting}/cancel")
        expect(page.locator("#by-status button")).to_have_text(
            ["All 3", "Waiting", "Answering", "Done 2", "Failed", "Cancelled 1"]
        )


def test_the_list_stays_where_it_is_when_a_job_is_closed_or_the_menu_is_skipped(page: Page, api: Api) -> None:
    for number in range(30):
        api.submit(model=ECHO, input={"prompt": f"one of many {number}"})
    view(page, "jobs")
    page.fill("#search", "one of many")
    expect(page.locator("#by-status [data-status='']")).to_have_text("All 30")
    page.evaluate("document.getElementById('view-jobs').scrollTop = 700")
    page.locator(".job-row .words", has_text="many 12").first.click()
    expect(page.locator("#drawer")).to_be_visible()
    place = page.evaluate(TOP)
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).to_be_hidden()
    page.press(".skip", "Enter")
    expect(page.locator("#view-jobs")).to_be_visible()
    assert page.evaluate(TOP) == place > 0
    page.click("#clear")
    expect(page.locator("#search")).to_have_value("")
    page.reload()
    expect(page.locator("#view-jobs")).to_be_visible()


def test_a_finger_chooses_several_statuses(browser: Browser, service: Service) -> None:
    with browser.new_context(viewport={"width": 390, "height": 760}, has_touch=True, is_mobile=True) as phone:
        page = phone.new_page()
        page.goto(f"{service.url()}/#jobs")
        pressed = page.locator("#by-status [aria-pressed=true]")
        for name, names in (("failed", ["Failed"]), ("cancelled", ["Failed", "Cancelled"]), ("", ["All"])):
            page.tap(f"#by-status [data-status='{name}']")
            expect(pressed).to_contain_text(names)


def test_a_phone_is_offered_what_fingers_can_do_and_its_model_takes(
    browser: Browser, service: Service
) -> None:
    with browser.new_context(viewport={"width": 390, "height": 760}, has_touch=True, is_mobile=True) as phone:
        page = phone.new_page()
        page.goto(service.url())
        expect(page.locator(".hero")).to_contain_text("Take or choose one below")
        page.tap("#pictures-open")
        expect(page.locator("#kinds")).to_have_text("Pictures, PDF, TIFF")
        expect(page.locator("#file")).not_to_have_attribute("accept", re.compile("video"))


def test_a_search_is_not_asked_for_each_letter_of_it(page: Page) -> None:
    view(page, "jobs")
    page.clock.install(time=0)
    page.reload()
    page.clock.pause_at(3600)
    searched: list[str] = []
    page.on("request", lambda asked: searched.extend(re.findall(r"/jobs\?search=(\w*)", asked.url)))
    page.locator("#search").press_sequentially("purple")
    with page.expect_request("**/v1/jobs?*search=*"):
        page.clock.run_for(1000)
    assert set(searched) == {"purple"}  # the round after it reads the same again


def test_an_address_that_names_no_job_opens_none(page: Page) -> None:
    view(page, "jobs/..\\admin\\fleet")
    expect(page.locator("#view-jobs")).to_be_visible()
    expect(page.locator("#drawer")).to_be_hidden()
    view(page, "operations")
    expect(page.locator("#view-operations")).to_be_visible()


def test_an_old_job_that_was_searched_for_stays_in_the_list(page: Page, api: Api) -> None:
    api.ended(api.submit(model=ECHO, input={"prompt": "the needle"}))
    old = api.get("/v1/jobs?limit=1&results=false").json()["data"][0] | {"created_at": 1000}
    searched: list[str] = []

    def give(route: Route) -> None:
        searched.append(route.request.url.partition("after=")[2].partition("&")[0])
        # The newest page has none, and one that is further back has it.
        pages: dict[str, tuple[list[Any], str | None]] = {
            "": ([], "2000000-job_1"),
            "2000000-job_1": ([old], "900000-job_0"),
        }
        rows, end = pages.get(searched[-1], ([], None))
        route.fulfill(json={"object": "list", "data": rows, "has_more": bool(end), "next": end})

    page.route("**/v1/jobs?*", give)
    page.route("**/v1/batches?*", lambda route: route.fulfill(json=NOTHING | {"has_more": True}))
    view(page, "jobs")
    expect(page.locator(".job-row")).to_have_count(1)
    expect(page.locator("#older-batches")).to_contain_text("newest 100 batches")
    watch(page, ".job-row a")
    for _ in range(3):
        with page.expect_response("**/v1/jobs?*"):
            hide(page, hidden=False)
    expect(page.locator(".job-row")).to_have_count(1)
    assert sorted(set(page.evaluate("window.seen"))) in ([], ["the needle"])
    assert [len([at for at in searched if at.startswith(begin)]) for begin in ("2", "9")] == [1, 1]


class LongList:
    """In place of the service's list: so many jobs, of which the newest has the highest number."""

    def __init__(self, page: Page, api: Api, jobs: int) -> None:
        self.jobs, self._page, self._began = jobs, page, int(time.time()) - 2000
        job = api.ended(api.submit(model=ECHO, input={"prompt": "the pattern"}))
        self._pattern: dict[str, Any] = next(
            row for row in api.get("/v1/jobs").json()["data"] if row["id"] == job["id"]
        )
        page.route("**/v1/jobs?*", self._give)
        page.route("**/v1/batches?*", lambda route: route.fulfill(json=NOTHING))
        view(page, "jobs")
        expect(page.locator(".job-row").first).to_contain_text(f"Number {jobs - 1}")

    def read_to_the_end(self) -> None:
        for _ in range(self.jobs):
            self._page.evaluate(BOTTOM)
            self._page.evaluate("new Promise(requestAnimationFrame)")
            if not self._page.locator("#older-batches").text_content():
                break
        expect(self._page.locator("#job-list")).to_have_css("height", f"{66 * self.jobs}px")

    def _job(self, number: int) -> dict[str, Any]:
        facts = {"question": {"text": f"Number {number}", "pictures": 0}, "created_at": self._began + number}
        job: dict[str, Any] = self._pattern | facts | {"id": f"job_{number:032x}"}
        return job

    def _give(self, route: Route) -> None:
        after = route.request.url.partition("after=")[2].partition("job_")[2]
        newest = int(after[:32], 16) - 1 if after else self.jobs - 1
        rows = [self._job(number) for number in range(newest, max(newest - 100, -1), -1)]
        end = f"{1000 * rows[-1]['created_at']}-{rows[-1]['id']}" if newest >= 100 else None
        date = format_datetime(datetime.fromtimestamp(self._began + self.jobs, UTC), usegmt=True)
        body = {"object": "list", "data": rows, "has_more": end is not None, "next": end}
        route.fulfill(json=body, headers={"date": date})


def test_many_new_jobs_leave_no_hole_in_a_list_that_is_scrolled_with_few_rows_in_the_document(
    page: Page, api: Api
) -> None:
    listed = LongList(page, api, 1000)
    listed.read_to_the_end()
    listed.jobs += 300
    expect(page.locator("#older-batches")).to_contain_text("Scroll for older ones")
    expect(page.locator("#jobs-note")).to_be_empty()
    listed.read_to_the_end()
    assert page.locator(".job-row").count() < 50
