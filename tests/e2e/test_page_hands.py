"""The page under hands: keys held down, pictures of all kinds, words of all lengths; in a browser."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.conftest import ECHO, SLOW
from tests.support.browser import (
    FITS,
    LONG,
    PHONE,
    answered,
    ask,
    attach_sample,
    drop,
    held,
    hide,
    new_question,
    posts,
    status,
    turn,
    view,
)
from tests.support.clients import Api, until
from tests.support.service import ROOT

PICTURE = (ROOT / "api/page/dots.png").read_bytes()
ATTACHED = "document.querySelector('#attached img').src"
ASKED = "document.querySelector('.turn:last-child .thumb img').src"


def test_a_held_key_asks_once(page: Page) -> None:
    sent = posts(page)
    page.select_option("#model", SLOW)
    page.fill("#question", "one two three")
    for _ in range(12):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    status(page, "succeeded")
    assert len(sent) == 1


def test_keys_that_mean_something_else_neither_ask_nor_cancel(page: Page) -> None:
    ask(page, SLOW, "keys: " + LONG)
    status(page, "running")
    sent, cancelled = posts(page), posts(page, "/cancel")
    for key in ("Escape", "Enter"):
        page.dispatch_event("#question", "keydown", {"key": key, "isComposing": True, "bubbles": True})
    page.press("#model", "Escape")
    page.press("#question", "Shift+Enter")
    page.click("#settings-open")
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).not_to_be_visible()
    turn(page).locator("h2").click()
    view(page, "jobs")
    page.click(".job-row .words >> nth=0")
    expect(page.locator("#drawer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).not_to_be_visible()
    view(page, "ask")
    page.press("#question", "Escape")
    status(page, "cancelled")
    assert (sent, len(cancelled)) == ([], 1)


def test_a_model_added_later_can_be_asked_and_the_choice_stays(page: Page, api: Api) -> None:
    page.select_option("#model", SLOW)
    models = api.get("/v1/models").json()
    models["data"].insert(0, models["data"][0] | {"id": "test/new"})
    page.route("**/v1/models", lambda route: route.fulfill(json=models))
    hide(page, hidden=False)
    for place in ("#model", "#by-model"):
        expect(page.locator(f"{place} option", has_text="test/new")).to_have_count(1)
        expect(page.locator(f"{place} option", has_text=SLOW)).to_have_count(1)
    expect(page.locator("#model")).to_have_value(SLOW)


def test_a_picture_dropped_is_asked_about_even_at_once(page: Page) -> None:
    attach_sample(page)
    former, sent = page.evaluate(ATTACHED), posts(page)
    drop(page, "#log", PICTURE, "mine.png", "image/png", then="#ask-form")
    status(page, "succeeded")
    both = page.evaluate("Array.from(document.querySelectorAll('.thumb img'), (image) => image.src)")
    assert both[0] == former
    assert len(set(both)) == 2
    assert all(picture in sent[0] for picture in both)


def test_a_sample_on_its_way_is_asked_about_even_at_once(page: Page) -> None:
    late, sent = held(page, "**/page/sign.png"), posts(page)
    page.click("#samples button >> nth=3")
    status(page, "sending")
    until(lambda: page.evaluate("1") and late)
    late[0].continue_()
    status(page, "succeeded")
    assert page.evaluate(ASKED) in sent[0]


def test_a_sample_does_not_write_over_a_question(page: Page) -> None:
    page.fill("#question", "Mine?")
    page.click("#samples button >> nth=0")
    expect(page.locator("#attached img")).to_be_visible()
    expect(page.locator("#question")).to_have_value("Mine?")
    expect(page.locator(".turn")).to_have_count(0)


def test_a_drop_anywhere_does_not_leave_the_page(page: Page) -> None:
    view(page, "jobs")
    assert drop(page, "#view-jobs", PICTURE, "mine.png", "image/png")
    expect(page.locator("#attached img")).to_have_attribute("alt", "mine.png")


def test_a_picture_is_taken_back_before_asking(page: Page) -> None:
    sent = posts(page)
    drop(page, "#question", PICTURE, "three dots.png", "image/png")
    page.get_by_role("button", name="Remove three dots.png").click()
    ask(page, ECHO, "without a picture")
    status(page, "succeeded")
    assert "image" not in sent[0]


def test_what_is_being_written_stays_with_its_conversation(page: Page) -> None:
    ask(page, ECHO, "a first question")
    status(page, "succeeded")
    page.fill("#question", "half a follow-up")
    drop(page, "#question", PICTURE, "mine.png", "image/png")
    expect(page.locator("#attached img")).to_be_visible()
    new_question(page)
    expect(page.locator("#question")).to_have_value("")
    expect(page.locator("#attached li")).to_have_count(0)
    page.fill("#question", "half a new one")
    page.click("#mine [data-do=talk]")
    expect(page.locator("#question")).to_have_value("half a follow-up")
    expect(page.locator("#attached img")).to_have_attribute("alt", "mine.png")
    new_question(page)
    expect(page.locator("#question")).to_have_value("half a new one")
    page.press("#question", "Enter")
    status(page, "succeeded")
    new_question(page)
    expect(page.locator("#question")).to_have_value("")


def test_what_is_no_picture_is_said_and_asked_about_by_nobody(page: Page) -> None:
    sent = posts(page)
    drop(page, "#question", b"hello", "x.txt", "text/plain")
    expect(page.locator("#attached .failed")).to_contain_text("x.txt is no picture")
    ask(page, ECHO, "what is in it")
    expect(page.locator("#ask-note")).to_have_text(re.compile("x.txt is no picture.* Remove it"))
    assert sent == []
    # By key: what the page writes below moves the button while a mouse is on its way to it.
    page.get_by_role("button", name="Remove x.txt").press("Enter")
    page.press("#question", "Enter")
    status(page, "succeeded")


def test_a_sample_that_cannot_be_loaded_is_said(page: Page) -> None:
    page.route("**/sign.png", lambda route: route.fulfill(status=502, body="sign in"))
    page.click("#samples button >> nth=3")
    expect(turn(page).locator(".failure")).to_contain_text("could not be loaded")


def test_the_same_file_can_be_chosen_again(page: Page, tmp_path: Path) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes(PICTURE)
    for count in (1, 2):
        page.set_input_files("#file", mine)
        expect(page.locator("#attached img")).to_have_count(count)


def test_an_answer_may_be_long_or_read_from_right_to_left(page: Page) -> None:
    ask(page, ECHO, "مرحبا بالعالم " * 30)
    status(page, "succeeded")
    assert turn(page).locator(".answer p").evaluate("(it) => getComputedStyle(it).direction") == "rtl"
    new_question(page)
    ask(page, ECHO, "long " * 4000)
    status(page, "succeeded")
    expect(turn(page).locator(".answer")).to_contain_text("long long")
    page.set_viewport_size(PHONE)
    assert page.evaluate(FITS)


def test_a_page_in_place_of_the_service_is_named_as_such(page: Page) -> None:
    answered(page, "**/v1/jobs", (200, {"content-type": "text/html"}, "<h1>sign in</h1>"))
    ask(page, ECHO, "anybody there")
    expect(turn(page).locator(".failure")).to_contain_text("not the service")


def test_long_names_fit_a_phone(page: Page, api: Api) -> None:
    fleet, models = (api.get(path).json() for path in ("/v1/admin/fleet", "/v1/models"))
    fleet["models"][0]["model"] = models["data"][0]["id"] = long = "x/" + "n" * 58
    fleet["models"][0]["reason"] = "OSError: /var/lib/" + "n" * 80
    page.route("**/v1/models", lambda route: route.fulfill(json=models))
    page.route("**/fleet", lambda route: route.fulfill(json=fleet))
    page.set_viewport_size(PHONE)
    view(page, "operations")
    hide(page, hidden=False)
    expect(page.locator(f'.model[data-model="{long}"]')).to_be_visible()
    expect(page.locator("#model option", has_text=long)).to_have_count(1)
    assert page.evaluate(FITS)
