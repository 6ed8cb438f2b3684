"""Every view and state of the page under axe, by day and by night; in a real browser."""

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.e2e.conftest import ECHO, SLOW
from tests.support.browser import (
    DESK,
    LONG,
    NOTHING,
    PHONE,
    answered,
    ask,
    attach_sample,
    hide,
    status,
    turn,
    view,
    violations,
)
from tests.support.clients import Api


def test_asking_can_be_heard_and_seen_before_a_question(page: Page) -> None:
    assert violations(page) == []
    page.click("#pictures-open")
    assert violations(page) == []
    page.keyboard.press("Escape")
    attach_sample(page)
    page.click("#settings-open")
    page.check("#json")
    expect(page.locator("#attached img")).to_be_visible()
    assert violations(page) == []


def test_an_answer_can_be_heard_and_seen_in_each_of_its_states(page: Page, api: Api) -> None:
    page.set_viewport_size(PHONE)
    before = [api.submit(model=SLOW, input={"prompt": f"{n} {LONG}"}) for n in range(3)]
    attach_sample(page)
    ask(page, SLOW, "مرحبا **strong** `code`\n\n- one\n- two\n\n```\nblock\n```")
    expect(turn(page).locator(".place")).to_contain_text("in line")
    assert violations(page) == []
    for job in before:
        api.post(f"/v1/jobs/{job}/cancel")
    status(page, "running")
    status(page, "succeeded")
    turn(page).locator("[data-do=code]").click()
    expect(turn(page).locator(".snippet .code")).to_be_in_viewport()
    assert violations(page) == []
    answered(page, "**/v1/jobs", (429, {}, '{"detail":"Too many requests."}'))
    ask(page, SLOW, "refused")
    status(page, "failed")
    assert violations(page) == []


def test_jobs_can_be_heard_and_seen(page: Page, api: Api) -> None:
    page.set_viewport_size(PHONE)
    hook = {"url": "http://127.0.0.1:9/hook", "secret": "whsec_" + "c2VjcmV0IG9mIHRoZSBjYWxsZXIgaXRzZWxm"}
    job = api.ended(api.submit(model=ECHO, input={"prompt": "heard and seen"}, webhook=hook))["id"]
    view(page, "jobs")
    page.check(f'#job-list input[data-job="{job}"]')
    assert violations(page) == []
    page.click("[data-do=choose-none]")
    page.click(f'#job-list [data-job="{job}"] .words')
    for tab in ("overview", "webhook", "program", "json"):
        page.click(f"[data-tab={tab}]")
        expect(page.locator("#panel > *")).not_to_have_count(0)
        assert violations(page) == [], tab


def test_what_is_empty_or_broken_can_be_heard_and_seen(page: Page) -> None:
    view(page, "jobs")
    page.fill("#search", "nothing is like this")
    expect(page.locator("#job-list")).to_contain_text("Nothing matches")
    assert violations(page) == []
    for listed in ("**/v1/jobs?*", "**/v1/batches?*"):
        page.route(listed, lambda route: route.fulfill(json=NOTHING))
    page.click("[data-do=clear]:visible")
    expect(page.locator("#job-list")).to_contain_text("No jobs yet")
    assert violations(page) == []
    page.context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("This device is offline")
    assert violations(page) == []
    page.context.set_offline(False)
    expect(page.locator("#banner")).to_be_empty()
    page.route("**/v1/**", lambda route: route.abort())
    hide(page, hidden=False)
    expect(page.locator("#banner")).to_contain_text("The service is unreachable")
    assert violations(page) == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_operations_and_a_fault_that_every_view_tells_can_be_heard_and_seen(
    page: Page, api: Api, size: ViewportSize
) -> None:
    page.set_viewport_size(size)
    fleet = api.get("/v1/admin/fleet").json()
    gone = next(row for row in fleet["models"] if row["model"] == ECHO)
    gone |= {"state": "no_worker", "workers": [], "oldest_queued_s": 171}
    gone["queued"]["normal"] = 43
    fleet["models"][-1] |= {"paused": True, "paused_at": 1, "paused_by": "ops"}
    page.route("**/fleet", lambda route: route.fulfill(json=fleet))
    banner = page.locator("#banner")
    for name in ("jobs", "keys", "ask"):
        view(page, name)
        expect(banner.locator(".brief")).to_contain_text("echo has no worker. 43 jobs wait")
    page.click("#banner a")
    expect(banner).to_contain_text("43 of its jobs wait, the oldest for 2 min 51 s")
    expect(banner).to_contain_text("sightline doctor")
    expect(banner.locator("[data-do=drain]")).to_be_visible()
    assert violations(page) == []
    for name in ("keys", "key"):
        view(page, name)
        expect(page.locator(f"#view-{name}")).to_be_visible()
        assert violations(page) == [], name
