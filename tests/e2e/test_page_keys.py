"""The page with API keys, in a browser: what each may see, how one is made, and its webhook."""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import ECHO
from tests.support.browser import (
    advance_clock,
    agree,
    answered,
    ask,
    hide,
    status,
    type_key,
    view,
    violations,
    watch,
)
from tests.support.clients import Api
from tests.support.service import Service

ADMIN = secrets.token_hex(16)
BLOCKED = """Object.defineProperty(window, "sessionStorage", {
  get() { throw new DOMException("blocked", "SecurityError"); },
});"""


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


def begin_key(locked: Page, name: str) -> None:
    """An operator opens the form of a new key and names it."""
    type_key(locked, ADMIN)
    view(locked, "keys")
    locked.click("[data-do=key-form]")
    locked.fill("[name=name]", name)


def test_the_api_is_described_once_a_key_is_given(locked: Page, guarded: Api) -> None:
    key = key_for(guarded, "read")
    locked.goto(f"{guarded.base_url}/docs")
    locked.fill("#key", key)
    locked.press("#key", "Enter")
    expect(locked.locator(".opblock").first).to_be_visible()
    expect(locked.locator("#key-form")).to_be_hidden()


def test_where_keys_are_off_it_is_said_how_to_turn_them_on(page: Page) -> None:
    view(page, "keys")
    expect(page.locator("#key-list li")).to_have_count(3)
    command = re.compile("^export SIGHTLINE_API__ADMIN_KEY=[0-9a-f]{48}")
    expect(page.locator("#key-list .code")).to_have_text(command)
    assert violations(page) == []


def test_whether_a_key_is_needed_is_said_once_it_is_known(page: Page, locked: Page) -> None:
    expect(page.locator("#view-ask")).to_be_visible()
    expect(locked.locator("#key-title")).to_have_text("This service asks for a key")
    expect(locked.locator("#view-ask")).not_to_be_visible()
    expect(locked.locator("#key-note")).to_be_empty()
    type_key(locked, "sl_" + 40 * "0")
    expect(locked.locator("#key-note")).to_contain_text("API key")
    assert violations(locked) == []


def test_a_key_with_the_scope_admin_alone_sees_the_queue(locked: Page, guarded: Api) -> None:
    type_key(locked, key_for(guarded, "admin"))
    view(locked, "operations")
    expect(locked.locator(f'.model[data-model="{ECHO}"]')).to_have_count(1)
    view(locked, "jobs")
    expect(locked.locator("#jobs-note")).to_have_text("This API key lacks the scope `read`.")


def test_a_refused_queue_is_not_asked_for_until_the_key_changes(locked: Page, guarded: Api) -> None:
    asked: list[str] = []
    locked.on("request", lambda request: asked.append(request.url))
    type_key(locked, key_for(guarded, "read"))
    expect(locked.locator("#nav a")).to_have_count(2)
    expect(locked.locator("#pulse li", has_text="slow")).to_contain_text("Ready")
    view(locked, "operations")
    expect(locked.locator("#operations-note")).to_have_text("This API key lacks the scope `admin`.")
    view(locked, "jobs")
    before = len(asked)
    for _ in range(3):
        with locked.expect_response("**/v1/jobs?*"):
            hide(locked, hidden=False)
    assert [url for url in asked[before:] if url.endswith("/fleet")] == []
    type_key(locked, ADMIN)
    view(locked, "operations")
    expect(locked.locator(f'.model[data-model="{ECHO}"]')).to_have_count(1)


def test_a_revoked_key_locks_the_page_that_is_open_and_stays_refused(locked: Page, guarded: Api) -> None:
    made = guarded.post("/v1/admin/keys", json={"name": "gone", "scopes": ["read", "admin"]}).json()
    locked.clock.install()
    locked.reload()
    type_key(locked, made["secret"])
    view(locked, "operations")
    expect(locked.locator(".model")).not_to_have_count(0)
    guarded.delete(f"/v1/admin/keys/{made['id']}")
    advance_clock(locked)
    expect(locked.locator("#key-note")).to_contain_text("revoked")
    for _ in range(2):
        with locked.expect_response("**/v1/models"):
            advance_clock(locked)
        assert locked.locator("#view-key").is_visible()
    watch(locked, "#key-note")
    busy = (429, {"content-type": "application/json"}, '{"detail": "Too many requests."}')
    answered(locked, "**/v1/models", busy, busy)
    for _ in range(4):
        with locked.expect_response("**/v1/models"):
            advance_clock(locked)
    assert all("revoked" in note for note in locked.evaluate("window.seen"))


def test_models_that_a_quota_kept_back_are_read_again_and_until_then_it_is_said_why(page: Page) -> None:
    page.clock.install()
    answered(page, "**/v1/models", (429, {"retry-after": "58"}, '{"detail": "Two requests a minute."}'))
    page.reload()
    expect(page.locator("#forecast")).to_have_text("Two requests a minute. Try again in 58 s.")
    page.clock.run_for(60_000)
    expect(page.locator("#model option")).not_to_have_count(0)
    expect(page.locator("#forecast")).not_to_contain_text("Two requests")


def test_a_key_that_may_not_read_is_told_so_before_it_asks(locked: Page, guarded: Api) -> None:
    type_key(locked, key_for(guarded, "submit"))
    expect(locked.locator("#forecast")).to_have_text("This API key lacks the scope `read`.")


@pytest.mark.parametrize("other", ["sl_" + 40 * "0", "ключ"])
def test_nothing_of_a_former_key_stays_on_the_screen(locked: Page, guarded: Api, other: str) -> None:
    guarded.submit(model=ECHO, input={"prompt": "seen by few"})
    type_key(locked, ADMIN)
    ask(locked, ECHO, "seen by few as well")
    status(locked, "succeeded")
    locked.fill("#question", "begun")
    view(locked, "jobs")
    locked.fill("#search", "by few")
    locked.click(".job-row .words >> nth=0")
    expect(locked.locator("#drawer .asked")).to_contain_text("seen by few")
    view(locked, "operations")
    expect(locked.locator(".model")).not_to_have_count(0)
    type_key(locked, other)
    expect(locked.locator("#key-note")).to_contain_text("API key")
    for name in ("jobs", "operations", "keys", "ask"):
        view(locked, name)
        expect(locked.locator("#view-key")).to_be_visible()
    assert "seen by few" not in (locked.text_content("body") or "")
    assert [locked.input_value(field) for field in ("#question", "#search")] == ["", ""]
    expect(locked.locator(".job-row")).to_have_count(0)
    expect(locked.locator(".model")).to_have_count(0)


def test_a_browser_that_keeps_nothing_for_pages_shows_the_page_all_the_same(page: Page) -> None:
    page.add_init_script(BLOCKED)
    page.reload()
    expect(page.locator("#model option")).not_to_have_count(0)
    type_key(page, "any")
    with page.expect_request(lambda asked: asked.headers.get("authorization") == "Bearer any"):
        hide(page, hidden=False)


def test_a_new_key_is_shown_once_and_can_be_revoked(locked: Page, guarded: Api) -> None:
    begin_key(locked, "Example Ltd")
    locked.fill("[name=requests_per_minute]", "600")
    locked.uncheck("[name=submit]")
    locked.press("[name=name]", "Enter")
    secret = locked.text_content(".secret .value") or ""
    row = locked.locator("#key-list tbody tr", has_text="Example Ltd")
    expect(row).to_contain_text("600 a minute")
    expect(row.locator("td").nth(3)).to_have_text("0 in the last minute")
    expect(row.locator("td").nth(4)).to_have_text("never")
    expect(row.locator(".chip")).to_have_text(["read"])
    assert guarded.get("/v1/jobs", headers={"authorization": f"Bearer {secret}"}).status_code == 200
    assert violations(locked) == []
    locked.click("[data-do=forget-key]")
    expect(locked.locator(".secret")).to_have_count(0)
    row.locator("[data-do=revoke-key]").click()
    agree(locked)
    expect(row).to_contain_text("revoked")


def test_a_new_key_is_not_shown_under_another(locked: Page, guarded: Api) -> None:
    begin_key(locked, "Another Ltd")
    locked.press("[name=name]", "Enter")
    expect(locked.locator(".secret .value")).to_have_count(1)
    type_key(locked, key_for(guarded, "admin"))
    view(locked, "keys")
    expect(locked.locator("#key-list tbody tr", has_text="Another Ltd")).to_have_count(1)
    assert locked.locator(".secret").count() == 0


def test_a_key_that_cannot_be_made_says_why(locked: Page) -> None:
    begin_key(locked, "Nobody")
    for scope in ("submit", "read"):
        locked.uncheck(f"[name={scope}]")
    locked.press("[name=name]", "Enter")
    expect(locked.locator("#key-list .failure")).to_contain_text("scopes")
    expect(locked.locator("[name=name]")).to_have_value("Nobody")


def test_an_operator_sets_a_keys_webhook_and_deletes_it(locked: Page) -> None:
    begin_key(locked, "The shop")
    locked.press("[name=name]", "Enter")
    row = locked.locator("#key-list tbody tr", has_text="The shop")
    row.locator("[data-do=edit-hook]").click()
    locked.fill("[name=url]", "https://shop.example/hook")
    locked.uncheck("[name='job.cancelled']")
    assert violations(locked) == []
    locked.press("[name=url]", "Enter")
    expect(locked.locator(".secret .value")).to_contain_text("whsec_")
    expect(row).to_contain_text("https://shop.example/hook")
    first = locked.text_content(".secret .value") or ""
    row.locator("[data-do=edit-hook]").click()
    expect(locked.locator("[name='job.cancelled']")).not_to_be_checked()
    locked.click("[data-do=rotate-hook]")
    agree(locked)
    expect(locked.locator(".secret .value")).not_to_have_text(first)
    row.locator("[data-do=edit-hook]").click()
    locked.click("[data-do=delete-hook]")
    agree(locked)
    expect(row).not_to_contain_text("shop.example")
