"""Documents and videos on the page: what a model takes is said before, and pages are seen as they end."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import ECHO, SLOW, TINY
from tests.support.browser import (
    advance_clock,
    answered,
    ask,
    drop,
    held,
    install_clock,
    new_question,
    posts,
    status,
    turn,
    view,
    violations,
)
from tests.support.clients import Api, until
from tests.support.documents import frames, pdf
from tests.support.service import ROOT
from tests.support.sounds import sound
from tests.support.videos import video

NAMES = ("one", "two", "three", "four")
MB = 2**20
LISTED = "**/v1/models"
PAGED = ".job-row[data-job^=batch_]"
PICTURE = (ROOT / "api/page/dots.png").read_bytes()
SSE = {"content-type": "text/event-stream"}


@pytest.fixture
def talkative(page: Page) -> Iterator[Page]:
    """The page of a service all of whose models but the tiny one take videos, and two pictures."""

    def give(route: Route) -> None:
        models = route.fetch().json()
        limits = {
            "max_videos": 1,
            "max_video_mb": 1,
            "max_video_s": 60,
            "max_video_frames": 8,
            "max_document_mb": 1,
            "max_pictures": 2,
        }
        models["data"] = [one if one["id"] == TINY else one | limits for one in models["data"]]
        route.fulfill(json=models)

    page.route(LISTED, give)
    page.reload()
    expect(page.locator("#model option")).not_to_have_count(0)
    yield page
    page.unroute(LISTED)


def test_of_a_document_its_first_page_its_pages_and_whether_they_fit_are_seen_before_it_is_asked_about(
    talkative: Page,
) -> None:
    sent = posts(talkative)
    talkative.select_option("#model", ECHO)
    drop(talkative, "#question", pdf(NAMES), "report.pdf", "application/pdf")
    expect(talkative.locator("#attached img")).to_be_visible()
    expect(talkative.locator("#attached")).to_contain_text("4 pages · ")
    expect(talkative.locator("#forecast")).to_have_text("report.pdf: 4 pages, and 2 fit into one question.")
    talkative.fill("#pages", "3-9")
    expect(talkative.locator("#forecast")).to_contain_text("has 4 pages: name some of them")
    talkative.fill("#pages", "2-3")
    expect(talkative.locator("#forecast")).to_contain_text("It fits")
    talkative.fill("#question", "too long " * 40_000)
    expect(talkative.locator("#forecast")).to_contain_text("Too long")
    talkative.fill("#question", "")
    expect(talkative.locator("#forecast")).to_contain_text("It fits")
    expect(talkative.locator("#offer")).to_be_hidden()
    talkative.fill("#pages", "")
    assert (violations(talkative), sent) == ([], [])
    talkative.click("#offer")
    status(talkative, "succeeded")
    answers = turn(talkative).locator(".page")
    expect(answers).to_have_count(4)
    expect(answers.locator(".thumb img")).to_have_count(4)
    answers.nth(3).locator(".thumb").click()
    expect(talkative.locator("#viewer img")).to_be_visible()
    assert violations(talkative) == []
    talkative.keyboard.press("Escape")
    expect(talkative.locator("#viewer")).to_be_hidden()
    assert talkative.locator("#stage").is_hidden()


@pytest.mark.parametrize("by", ["[data-do=detach]", "[data-do=sample] >> nth=0"])
def test_a_document_that_is_not_asked_about_is_removed_at_the_service(page: Page, api: Api, by: str) -> None:
    drop(page, "#question", pdf(NAMES[:1]), "removed.pdf", "application/pdf")
    expect(page.locator("#attached img")).to_be_visible()
    assert "removed.pdf" in api.get("/v1/files").text
    page.click(by)
    until(lambda: page.evaluate("1") and "removed.pdf" not in api.get("/v1/files").text)


def test_a_document_that_was_refused_is_asked_page_by_page_by_a_click(page: Page) -> None:
    refusal = {"detail": "Too many pages.", "code": "invalid_document"}
    answered(page, "**/v1/jobs", (400, {}, json.dumps(refusal)))
    drop(page, "#question", pdf(NAMES[:2]), "report.pdf", "application/pdf")
    ask(page, ECHO, "what is it")
    expect(turn(page).locator(".failure")).to_have_text("Too many pages.")
    turn(page).locator("[data-do=ask-per-page]").click()
    expect(page.locator(".turn")).to_have_count(2)
    status(page, "succeeded")
    expect(turn(page).locator(".page")).to_have_count(2)


def test_a_document_is_asked_about_and_its_pages_are_seen_beside_the_answer(page: Page) -> None:
    page.select_option("#model", ECHO)
    drop(page, "#question", pdf(NAMES[:3]), "report.pdf", "application/pdf")
    expect(page.locator("#forecast")).to_have_text(re.compile(r"256 pages \(1,000 page by page\), 50 MB"))
    page.fill("#pages", "2-3")
    ask(page, ECHO, "what stands there")
    status(page, "succeeded")
    expect(turn(page).locator(".answer")).to_have_text(re.compile(r"what stands there( \[\d+x\d+\]){2}$"))
    expect(page.locator(".stage img")).to_have_count(2)
    expect(page.locator("#document-options")).not_to_be_visible()


def test_a_picture_beside_a_document_keeps_its_name_and_is_no_page(page: Page) -> None:
    drop(page, "#question", PICTURE, "photo.png", "image/png")
    drop(page, "#question", pdf(NAMES[:2]), "report.pdf", "application/pdf")
    ask(page, ECHO, "what is the same")
    status(page, "succeeded")
    shown = [f"Show {name}" for name in ("photo.png", "Page 1", "Page 2")]
    for _ in range(2):
        thumbs = page.locator(".stage .thumb")
        expect(thumbs).to_have_count(3)
        assert [thumb.get_attribute("aria-label") for thumb in thumbs.all()] == shown
        page.reload()


def test_a_conversation_about_a_document_goes_on_also_after_a_reload(page: Page) -> None:
    drop(page, "#question", frames("TIFF", ("red", "blue")), "scan.tiff", "image/tiff")
    ask(page, ECHO, "the first question")
    status(page, "succeeded")
    page.reload()
    page.click("[data-do=talk] >> nth=0")
    status(page, "succeeded")
    expect(page.locator(".stage img")).to_have_count(2)
    ask(page, ECHO, "and the second")
    status(page, "succeeded")
    expect(turn(page).locator(".answer")).to_contain_text("and the second")


def test_a_video_is_asked_about_where_the_model_takes_it(talkative: Page) -> None:
    talkative.select_option("#model", ECHO)
    drop(talkative, "#question", video(), "clip.mp4", "video/mp4")
    expect(talkative.locator("#forecast")).to_contain_text("1 video of 1 MB and 60 s")
    assert violations(talkative) == []
    ask(talkative, ECHO, "what moves")
    status(talkative, "succeeded")
    expect(turn(talkative).locator(".answer")).to_have_text(re.compile(r"what moves \[\d+x\d+x\d+\]"))


@pytest.mark.parametrize(
    ("model", "files", "words"),
    [
        (TINY, ["clip.mp4"], "tiny takes no videos. Choose another model, or remove clip.mp4."),
        (ECHO, ["one.mp4", "two.webm"], "echo takes 1 video at once."),
        (ECHO, ["large.mov"], "large.mov is larger than 1 MB, the most for a video."),
        (ECHO, ["large.pdf"], "large.pdf is larger than 1 MB, the most for a document."),
    ],
    ids=["no videos", "too many", "too large", "document too large"],
)
def test_what_a_model_does_not_take_is_said_before_and_not_sent(
    talkative: Page, model: str, files: list[str], words: str
) -> None:
    sent, uploaded = posts(talkative), posts(talkative, "/v1/files")
    talkative.select_option("#model", model)
    for name in files:
        drop(talkative, "#question", b"0" * (MB + 1 if "large" in name else 9), name, "")
    expect(talkative.locator("#forecast")).to_have_text(words)
    ask(talkative, model, "what happens")
    expect(talkative.locator("#ask-note")).to_have_text(words)
    assert (sent, uploaded) == ([], [])


def test_an_open_job_names_a_sound_that_it_was_asked_about(page: Page, api: Api) -> None:
    data = base64.b64encode(sound("MP3")).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}}
    view(page, f"jobs/{api.submit(model=ECHO, messages=[{'role': 'user', 'content': [part]}])}")
    expect(page.locator("#panel .chip")).to_have_text("Sound")


def test_an_empty_file_is_named_and_all_files_are_removed_at_once(page: Page) -> None:
    drop(page, "#question", b"", "blank.png", "image/png")
    expect(page.locator("#attached")).to_contain_text("blank.png is empty.")
    for number in range(4):
        drop(page, "#question", pdf(NAMES), f"{number}.pdf", "application/pdf")
    page.click("[data-do=detach-all]")
    expect(page.locator("#attached li")).to_have_count(0)


def test_each_page_of_a_document_is_answered_by_itself(page: Page) -> None:
    sent = posts(page)
    drop(page, "#question", pdf(NAMES), "report.pdf", "application/pdf")
    page.fill("#pages", "2-4")
    page.check("#per-page")
    ask(page, ECHO, "sum it up")
    status(page, "succeeded")
    body: dict[str, Any] = json.loads(sent[0])
    assert body["document"] | {"file": ""} == {"file": "", "pages": "2-4", "per": "page"}
    expect(turn(page).locator(".pages .place")).to_contain_text("3 of 3 pages")
    expect(turn(page).locator(".page h3")).to_have_text(["Page 2", "Page 3", "Page 4"])
    expect(turn(page).locator(".page .prose").first).to_contain_text("sum it up")
    assert violations(page) == []
    page.reload()
    page.click("[data-do=talk] >> nth=0")
    expect(turn(page).locator(".page h3")).to_have_text(["Page 2", "Page 3", "Page 4"])
    sent = posts(page)
    ask(page, ECHO, "and in all")
    status(page, "succeeded")
    question, answers, _ = json.loads(sent[0])["messages"]
    assert question["content"] == "sum it up"
    assert [f"Page {number}\n" in answers["content"] for number in range(1, 5)] == [False, True, True, True]


def test_a_job_of_pages_is_cancelled_as_a_whole_and_keeps_what_was_answered(page: Page, api: Api) -> None:
    drop(page, "#question", pdf([f"page {n}" for n in range(9)]), "long.pdf", "application/pdf")
    page.check("#per-page")
    ask(page, SLOW, "one two three four five " * 5)
    expect(turn(page).locator(".page h3").first).to_have_text("Page 1")
    page.press("#question", "Escape")
    status(page, "cancelled")
    expect(turn(page).locator(".page h3").first).to_have_text("Page 1")
    batch = api.get("/v1/batches?limit=1").json()["data"][0]
    assert batch["status"] == "cancelled"
    new_question(page)


def test_a_job_of_pages_is_opened_from_its_row_and_leads_to_each_page_and_to_files_of_all(
    page: Page, api: Api
) -> None:
    drop(page, "#question", pdf(NAMES), "report.pdf", "application/pdf")
    page.check("#per-page")
    ask(page, ECHO, "list by page")
    status(page, "succeeded")
    view(page, "jobs")
    page.fill("#search", "LIST by")
    row = page.locator(PAGED, has_text="list by page")
    expect(row).to_contain_text("Page by page: 4 of 4 pages")
    page.click("#by-status [data-status=failed]")
    expect(row).to_have_count(0)
    page.click("#by-status [data-status='']")
    row.locator(".words").click()
    drawer = page.locator("#drawer")
    expect(drawer.locator(".place")).to_contain_text("4 of 4 pages")
    expect(drawer.locator(".page h3")).to_have_text([f"Page {number}" for number in range(1, 5)])
    expect(drawer.locator(".page .state")).to_have_text(["Done"] * 4)
    expect(drawer.locator(".page .prose").first).to_contain_text("list by page")
    assert violations(page) == []
    job = page.url.rpartition("/")[2]
    with page.expect_download() as saved:
        drawer.locator("[data-format=jsonl]").click()
    lines = [saved.value.path().read_text(), api.get(f"/v1/jobs/{job}/pages").text]
    rows, same = ([json.loads(line) for line in text.splitlines()] for text in lines)
    assert rows == same
    with page.expect_download() as saved:
        drawer.locator("[data-format=text]").click()
    assert saved.value.path().read_text().startswith("Page 1\n\nlist by page")
    drawer.locator(".page a").nth(2).click()
    expect(drawer.locator(".asked")).to_have_text("list by page")
    expect(drawer.locator(".shots img")).to_have_count(1)
    page.go_back()
    expect(drawer.locator(".page")).to_have_count(4)


def test_no_file_of_some_pages_looks_like_one_of_all(page: Page, api: Api) -> None:
    drop(page, "#question", pdf(NAMES[:2]), "report.pdf", "application/pdf")
    page.check("#per-page")
    ask(page, ECHO, "whole or not at all")
    status(page, "succeeded")
    job = api.get("/v1/batches?limit=1").json()["data"][0]["id"]
    blocks = api.get(f"/v1/jobs/{job}/events").text.split("\n\n")
    first = next(at for at, block in enumerate(blocks) if "event: page" in block)
    rest = held(page, "**/events")
    view(page, f"jobs/{job}")
    until(lambda: page.evaluate("1") and rest)
    rest[0].fulfill(headers=SSE, body="\n\n".join(blocks[: first + 1]) + "\n\n")
    drawer = page.locator("#drawer")
    expect(drawer.locator(".page")).to_have_count(1)
    expect(drawer.locator("#drawer-title")).to_have_text("Done")
    expect(drawer.locator("[data-do=save-pages]")).to_have_count(0)
    until(lambda: page.evaluate("1") and len(rest) == 2)
    rest[1].continue_()
    expect(drawer.locator(".page")).to_have_count(2)
    expect(drawer.locator("[data-do=save-pages]")).to_have_count(2)


def test_a_job_of_pages_under_way_is_followed_and_cancelled_from_its_row(page: Page, api: Api) -> None:
    drop(page, "#question", pdf([f"page {n}" for n in range(9)]), "long.pdf", "application/pdf")
    page.check("#per-page")
    ask(page, SLOW, "one two three four five " * 5)
    expect(turn(page).locator(".page")).not_to_have_count(0)
    view(page, "jobs")
    page.locator(PAGED, has_text="one two three").first.locator(".words").click()
    drawer = page.locator("#drawer")
    expect(drawer.locator("#drawer-title")).to_have_text("Answering")
    expect(drawer.locator(".place")).to_contain_text("to go")
    page.click("[data-do=cancel-job]")
    expect(drawer.locator("#drawer-title")).to_have_text("Cancelled")
    expect(drawer.locator(".page h3").first).to_have_text("Page 1")
    expect(drawer.locator(".failure")).to_have_count(0)
    until(lambda: api.get("/v1/batches?limit=1").json()["data"][0]["status"] == "cancelled")


def test_open_jobs_of_pages_keep_their_places_and_are_cancelled_with_all_that_is_chosen(
    page: Page, api: Api
) -> None:
    upload = api.post("/v1/files", files={"file": ("a.pdf", pdf(["one"]))}, data={"purpose": "user_data"})
    document = {"file": upload.json()["id"], "per": "page"}
    rows = page.locator(PAGED)
    with api.paused(ECHO):
        for text in ("paused, older", "paused, newer"):
            api.post("/v1/jobs", json={"model": ECHO, "input": {"prompt": text}, "document": document})
        install_clock(page)
        view(page, "jobs")
        page.fill("#search", "paused, ")
        expect(rows).to_contain_text(["newer", "older"])
        rows.first.locator(".words").click()
        # A call under way would end as the clock is put forward.
        expect(page.locator("#drawer-title")).to_have_text("Answering")
        # It is read again while it waits; at the third answer the second is shown.
        for _ in range(3):
            with page.expect_response("**/v1/jobs/batch_*"):
                advance_clock(page)
        expect(rows).to_contain_text(["newer", "older"])
        page.keyboard.press("Escape")
        expect(page.locator(".job-row")).to_have_count(4)  # with a job of each page
        page.check("#columns input")
        page.click("[data-do=cancel-chosen]")
        expect(page.locator(".job-row[data-status=cancelled]")).to_have_count(4)
        expect(rows.locator("input")).to_have_count(0)
        page.fill("#search", rows.first.get_attribute("data-job") or "")
        expect(page.locator(".job-row")).to_have_count(1)
        expect(page.locator("#columns")).to_contain_text("Question and answer")
        expect(page.locator("#clear")).to_be_visible()


def test_page_by_page_takes_one_document_alone(page: Page) -> None:
    sent, previews = posts(page), held(page, "**/v1/files/*/page")
    for name in ("one.pdf", "two.pdf"):
        drop(page, "#question", pdf(NAMES), name, "application/pdf")
    page.check("#per-page")
    ask(page, ECHO, "what is it")
    refusal = "Page by page takes one document, and nothing beside it."
    expect(page.locator("#ask-note")).to_have_text(refusal)
    until(lambda: page.evaluate("1") and len(previews) == 2)
    for preview in previews:
        preview.continue_()
    expect(page.locator("#attached img")).to_have_count(2)
    expect(page.locator("#ask-note")).to_have_text(refusal)
    assert sent == []
    page.locator("[data-do=detach]").first.click()
    expect(page.locator("#ask-note")).to_be_empty()
