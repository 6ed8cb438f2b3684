"""Every view and state of the page under axe, by day and by night; in a real browser."""

from typing import Any

import pytest
from playwright.sync_api import Page, Route, ViewportSize, expect

from tests.e2e.conftest import ECHO, SLOW
from tests.support.browser import DESK, answered, ask, hide, status, turn, view, violations
from tests.support.clients import Api

LONG = "say a very long answer " * 40
PHONE: ViewportSize = {"width": 390, "height": 760}
SIZES = pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
EMPTY: dict[str, Any] = {"object": "list", "data": [], "has_more": False, "next": None}


def test_asking_can_be_heard_and_seen_before_a_question(page: Page) -> None:
    assert violations(page) == []
    page.click("#pictures-open")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.click("#samples button >> nth=0")
    page.click("#settings-open")
    page.check("#json")
    expect(page.locator("#attached img")).to_be_visible()
    assert violations(page) == []


@SIZES
def test_an_answer_can_be_heard_and_seen_in_each_of_its_states(
    page: Page, api: Api, size: ViewportSize
) -> None:
    page.set_viewport_size(size)
    before = [api.submit(model=SLOW, input={"prompt": f"{n} {LONG}"}) for n in range(3)]
    page.click("#samples button >> nth=0")
    ask(page, SLOW, f"{size['width']} مرحبا **strong** `code`\n\n- one\n- two\n\n```\nblock\n```")
    expect(turn(page).locator(".place")).to_contain_text("in line")
    assert violations(page) == []
    for job in before:
        api.post(f"/v1/jobs/{job}/cancel")
    status(page, "running")
    status(page, "succeeded")
    turn(page).locator("[data-do=code]").click()
    assert violations(page) == []
    answered(page, "**/v1/jobs", (429, {}, '{"detail":"Too many requests."}'))
    ask(page, SLOW, "refused")
    status(page, "failed")
    assert violations(page) == []


@SIZES
def test_jobs_can_be_heard_and_seen(page: Page, api: Api, size: ViewportSize) -> None:
    page.set_viewport_size(size)
    hook = {"url": "http://127.0.0.1:9/hook", "secret": "whsec_" + "c2VjcmV0IG9mIHRoZSBjYWxsZXIgaXRzZWxm"}
    job = api.submit(model=ECHO, input={"prompt": "heard and seen"}, webhook=hook)
    api.ended(job)
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
        page.route(listed, lambda route: route.fulfill(json=EMPTY))
    page.click("[data-do=clear]:visible")
    expect(page.locator("#job-list")).to_contain_text("No jobs yet")
    assert violations(page) == []
    page.context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("This device is offline")
    assert violations(page) == []
    page.context.set_offline(False)
    page.route("**/v1/**", lambda route: route.abort())
    hide(page, hidden=False)
    expect(page.locator("#banner")).to_contain_text("The service is unreachable")
    assert violations(page) == []


@SIZES
def test_operations_and_their_faults_can_be_heard_and_seen(page: Page, api: Api, size: ViewportSize) -> None:
    page.set_viewport_size(size)
    fleet = api.get("/v1/admin/fleet").json()
    gone, paused, *_ = fleet["models"]
    gone |= {"state": "no_worker", "workers": [], "oldest_queued_s": 171}
    gone["queued"]["normal"] = 43
    paused |= {"paused": True, "paused_at": 1, "paused_by": "ops"}

    def give(route: Route) -> None:
        route.fulfill(json=fleet)

    page.route("**/fleet", give)
    view(page, "operations")
    expect(page.locator("#banner")).to_contain_text("43 of its jobs wait")
    assert violations(page) == []
    for name in ("keys", "endpoints", "key"):
        view(page, name)
        expect(page.locator(f"#view-{name}")).to_be_visible()
        if name == "endpoints":
            page.click("[data-do=endpoint-form]")
        assert violations(page) == [], name
