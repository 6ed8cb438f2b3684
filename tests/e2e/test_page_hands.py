"""The page under hands: keys held down, pictures of all kinds, API keys that may little; in a browser."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import ECHO, SLOW
from tests.support.browser import answered, ask, drop, held, hide, posts
from tests.support.clients import Api, until
from tests.support.service import ROOT, Service

LONG = "say a very long answer " * 40
PHONE_PX = 375
PICTURE = (ROOT / "api/page/dots.png").read_bytes()
ADMIN = secrets.token_hex(16)
SPACING = "async () => (await import('./page/wire.js')).spacing_ms(2)"
BLOCKED = """Object.defineProperty(window, "sessionStorage", {
  get() { throw new DOMException("blocked", "SecurityError"); },
});"""
PREVIEW = "document.getElementById('preview').src"


@pytest.fixture(scope="module")
def guarded(_shared: Service) -> Iterator[Api]:
    """An API process that asks for keys, and its operator."""
    _shared.add_api("api-keys", {"SIGHTLINE_API__ADMIN_KEY": ADMIN})
    _shared.ready("api-keys")
    with Api(_shared.url("api-keys")) as operator:
        operator.headers["authorization"] = f"Bearer {ADMIN}"
        yield operator
    _shared.kill("api-keys")


@pytest.fixture
def locked(browser: Browser, guarded: Api) -> Iterator[Page]:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(str(guarded.base_url))
        yield page


def key_for(operator: Api, *scopes: str, **more: Any) -> str:
    made = operator.post("/v1/admin/keys", json={"name": "page", "scopes": scopes, **more})
    return str(made.json()["secret"])


def type_key(page: Page, key: str) -> None:
    page.fill("#key", key)
    page.press("#key", "Tab")


def test_a_browser_that_keeps_nothing_for_pages_shows_the_page_all_the_same(page: Page) -> None:
    page.add_init_script(BLOCKED)
    page.reload()
    expect(page.locator("#model option")).not_to_have_count(0)
    type_key(page, "any")
    expect(page.locator("#key")).to_have_value("any")


def test_whether_a_key_is_needed_is_said_once_it_is_known(page: Page, locked: Page) -> None:
    expect(page.locator("#key")).to_have_attribute("placeholder", "not needed")
    expect(locked.locator("#service")).to_contain_text("API key")
    assert locked.get_attribute("#key", "placeholder") in (None, "")


def test_a_held_key_asks_once(page: Page) -> None:
    sent = posts(page)
    page.select_option("#model", SLOW)
    page.fill("#question", "one two three")
    page.keyboard.down("Control")
    for _ in range(12):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    page.keyboard.up("Control")
    expect(page.locator("#status")).to_have_text("succeeded")
    assert len(sent) == 1


def test_keys_that_mean_something_else_neither_ask_nor_cancel(page: Page) -> None:
    ask(page, SLOW, "keys: " + LONG)
    expect(page.locator("#status")).to_have_text("running")
    sent, cancelled = posts(page), posts(page, "/cancel")
    page.dispatch_event("#question", "keydown", {"key": "Escape", "isComposing": True, "bubbles": True})
    page.press("#by-status", "Escape")
    page.click("#jobs button >> nth=0")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    expect(page.locator("#job")).not_to_be_visible()
    page.press("#question", "Escape")
    expect(page.locator("#status")).to_have_text("cancelled")
    assert (sent, len(cancelled)) == ([], 1)


def test_a_key_with_the_scope_admin_alone_sees_the_queue(locked: Page, guarded: Api) -> None:
    type_key(locked, key_for(guarded, "admin"))
    expect(locked.locator(".model", has_text=ECHO)).to_have_count(1)
    expect(locked.locator("#jobs-note")).to_have_text("This API key lacks the scope `read`.")
    expect(locked.locator("#service")).to_contain_text("workers")


def test_a_refused_queue_is_not_asked_for_until_the_key_changes(locked: Page, guarded: Api) -> None:
    asked: list[str] = []
    locked.on("request", lambda request: asked.append(request.url))
    type_key(locked, key_for(guarded, "read"))
    expect(locked.locator("#queue-note")).to_have_text("This API key lacks the scope `admin`.")
    before = len(asked)
    for _ in range(3):
        with locked.expect_response("**/v1/jobs?*"):
            hide(locked, hidden=False)
    assert [url for url in asked[before:] if url.endswith("/fleet")] == []
    type_key(locked, ADMIN)
    expect(locked.locator(".model", has_text=ECHO)).to_have_count(1)


def test_the_page_leaves_half_of_a_key_s_quota_to_the_questions(locked: Page, guarded: Api) -> None:
    type_key(locked, key_for(guarded, "read", requests_per_minute=30))
    expect(locked.locator("#queue-note")).to_have_text("This API key lacks the scope `admin`.")
    # What it may see is told by the list, which may come later.
    until(lambda: locked.evaluate(SPACING) == 60_000 * 2 / 15)


@pytest.mark.parametrize("other", ["sl_" + 40 * "0", "ключ"])
def test_nothing_of_a_former_key_stays_on_the_screen(locked: Page, guarded: Api, other: str) -> None:
    guarded.submit(model=ECHO, input={"prompt": "seen by few"})
    type_key(locked, ADMIN)
    expect(locked.locator("#jobs tr")).not_to_have_count(0)
    expect(locked.locator(".model")).not_to_have_count(0)
    type_key(locked, other)
    expect(locked.locator("#service")).to_contain_text("API key")
    expect(locked.locator("#jobs tr")).to_have_count(0)
    expect(locked.locator(".model")).to_have_count(0)


def test_what_is_read_or_selected_stays_where_it_is_while_numbers_change(page: Page, api: Api) -> None:
    page.evaluate("document.querySelector('#queue tbody td').marked = true")
    api.post(f"/v1/admin/models/{ECHO}/pause")
    try:
        expect(page.locator(".model", has_text=ECHO).locator(".badge")).to_have_text("paused")
        assert page.evaluate("document.querySelector('#queue tbody td').marked")
    finally:
        api.post(f"/v1/admin/models/{ECHO}/resume")


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
    page.click("#samples button >> nth=0")
    expect(page.locator("#preview")).to_be_visible()
    former, sent = page.evaluate(PREVIEW), posts(page)
    drop(page, "#drop", PICTURE, "mine.png", "image/png", then="#ask")
    expect(page.locator("#status")).not_to_have_text("sending")
    assert page.evaluate(PREVIEW) != former
    assert page.evaluate(PREVIEW) in sent[0]


def test_a_sample_on_its_way_is_asked_about_even_at_once(page: Page) -> None:
    late, sent = held(page, "**/page/sign.png"), posts(page)
    page.click("#samples button >> nth=3")
    ask(page, ECHO, "a sample that comes late")
    expect(page.locator("#status")).to_have_text("sending")
    until(lambda: page.evaluate("1") and late)
    late[0].continue_()
    expect(page.locator("#status")).to_have_text("succeeded")
    assert page.evaluate(PREVIEW) in sent[0]


def test_a_sample_that_comes_late_replaces_nothing_chosen_after_it(page: Page) -> None:
    late = held(page, "**/page/sign.png")
    page.click("#samples button >> nth=3")
    drop(page, "#drop", PICTURE, "mine.png", "image/png")
    expect(page.locator("#preview")).to_have_attribute("alt", "mine.png")
    page.click("#samples button >> nth=3")
    page.fill("#url", "https://example.com/mine.png")
    until(lambda: page.evaluate("1") and len(late) == 2)
    for sample in late:
        with page.expect_event("requestfinished"):
            sample.continue_()
    # A file is read behind what came before it.
    page.evaluate("new Promise(requestAnimationFrame)")
    expect(page.locator("#url")).to_have_value("https://example.com/mine.png")
    expect(page.locator("#preview")).to_be_hidden()


def test_a_drop_beside_the_box_does_not_leave_the_page(page: Page) -> None:
    assert drop(page, "#question", PICTURE, "mine.png", "image/png")


def test_a_reader_of_the_screen_hears_which_picture_is_chosen(page: Page) -> None:
    drop(page, "#drop", PICTURE, "three dots.png", "image/png")
    expect(page.get_by_role("button", name="three dots.png")).to_be_visible()


def test_what_is_no_picture_is_said_before_it_is_sent(page: Page) -> None:
    drop(page, "#drop", b"hello", "a.txt", "text/plain")
    expect(page.locator("#hint")).to_have_text("a.txt is not a PNG, JPEG, WebP or GIF.")
    answered(page, "**/sign.png", (502, {"content-type": "text/html"}, "sign in"))
    page.click("#samples button >> nth=3")
    expect(page.locator("#hint")).to_contain_text("could not be loaded")


def test_a_question_about_what_is_no_picture_is_not_answered_without_one_unasked(page: Page) -> None:
    sent = posts(page)
    drop(page, "#drop", b"hello", "x.heic", "image/heic")
    expect(page.locator("#hint")).to_have_class("failed")
    ask(page, ECHO, "what is in it")
    expect(page.locator("#status")).to_have_text("failed")
    expect(page.locator("#answer")).to_have_text(re.compile("x.heic is not a PNG.* Ask again"))
    expect(page.locator("#hint")).to_contain_text("Drop, paste or choose a picture")
    assert sent == []
    ask(page, ECHO, "a question without a picture")
    expect(page.locator("#status")).to_have_text("succeeded")


def test_the_same_file_can_be_chosen_again_after_a_sample(page: Page, tmp_path: Path) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes(PICTURE)
    page.set_input_files("#file", mine)
    expect(page.locator("#preview")).to_have_attribute("alt", "mine.png")
    page.click("#samples button >> nth=0")
    expect(page.locator("#preview")).to_have_attribute("alt", "two shapes")
    page.set_input_files("#file", mine)
    expect(page.locator("#preview")).to_have_attribute("alt", "mine.png")


def test_a_page_in_place_of_the_service_is_named_as_such(page: Page) -> None:
    answered(page, "**/v1/jobs", (200, {"content-type": "text/html"}, "<h1>sign in</h1>"))
    ask(page, ECHO, "anybody there")
    expect(page.locator("#answer")).to_contain_text("not the service")


def test_long_names_fit_a_phone(page: Page, api: Api) -> None:
    fleet, models = (api.get(path).json() for path in ("/v1/admin/fleet", "/v1/models"))
    fleet["models"][0]["model"] = models["data"][0]["id"] = long = "x/" + "n" * 58
    fleet["models"][0]["reason"] = "OSError: /var/lib/" + "n" * 80
    page.route("**/v1/models", lambda route: route.fulfill(json=models))
    page.route("**/fleet", lambda route: route.fulfill(json=fleet))
    page.set_viewport_size({"width": PHONE_PX, "height": 740})
    hide(page, hidden=False)
    expect(page.locator(".model", has_text=long)).to_be_visible()
    expect(page.locator("#model option", has_text=long)).to_have_count(1)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE_PX
