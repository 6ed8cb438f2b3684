"""Operations on the page beside the models: couriers, what waits for them, refusals; in a browser."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import FITS, PHONE, advance_clock, install_clock, view, violations
from tests.support.clients import Api

CARDS = "#operation-cards"


def with_couriers(page: Page, api: Api, **facts: Any) -> None:
    fleet = api.get("/v1/admin/fleet").json()
    fleet["couriers"] |= facts
    page.route("**/fleet", lambda route: route.fulfill(json=fleet))


def test_one_chart_shows_every_model_on_axes_and_each_moment_under_the_pointer(page: Page) -> None:
    unknown: list[float | None] = [None] * 90
    busy = {"waiting": [*unknown[:30], *[3.0] * 58, 16, 17], "tokens_per_s": unknown, "wait_p95_s": unknown}
    models = {"a/quiet": busy | {"waiting": [*unknown[:30], *[0] * 60]}, "a/busy": busy}
    series = {"step_s": 10, "from": 1_760_000_000, "refusals": {}, "models": models}
    page.route("**/series?*", lambda route: route.fulfill(json=series))
    view(page, "operations")
    chart = page.locator(".chart")
    expect(chart.locator(".scale-y span")).to_have_text(["20", "10", "0"])
    expect(chart.locator(".scale-x span")).to_have_count(5)
    expect(chart.locator(".legend li")).to_have_text(["busy17", "quiet0"])
    expect(chart.locator(".plot")).to_have_attribute(
        "aria-label", "Waiting jobs in the last 15 minutes: busy now 17, at most 17; quiet now 0, at most 0"
    )
    box = chart.locator(".plot").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 9)
    expect(chart.locator(".tip")).to_contain_text("busy 17 · quiet 0")
    chart.locator("[data-value='5']").click()
    expect(chart.locator(".plot")).to_have_attribute("aria-label", re.compile("last 5 minutes"))
    # The axis begins with the first known value, ten minutes ago, and ends close above the highest.
    busy["waiting"][-1] = 11
    page.reload()
    expect(chart.locator(".scale-y span")).to_have_text(["16", "8", "0"])
    expect(chart.locator(".plot")).to_have_attribute("data-from", str(1_760_000_000 + 300))
    chart.locator("[data-value=wait_p95_s]").click()
    expect(chart.locator(".legend li")).to_have_text([re.compile("^quiet"), re.compile("^busy")])
    assert violations(page) == []


@pytest.mark.parametrize(("waits", "is_now"), [(0, False), (3, True)])
def test_each_model_says_its_waiting_time_grey_while_idle(
    page: Page, api: Api, waits: int, is_now: bool
) -> None:
    fleet = api.get("/v1/admin/fleet").json()
    row = fleet["models"][0]
    row["queued"] |= {"normal": waits}
    values = {"waiting": [0] * 90, "tokens_per_s": [0] * 90, "wait_p95_s": [1020, *[None] * 89]}
    counts = {"succeeded": [0] * 90, "failed": [0] * 90}
    series = {"step_s": 10, "from": 1_760_000_000, "refusals": {}, "models": {row["model"]: values | counts}}
    page.route("**/fleet", lambda route: route.fulfill(json=fleet))
    page.route("**/series?*", lambda route: route.fulfill(json=series))
    view(page, "operations")
    card = page.locator(f'[data-model="{row["model"]}"].card')
    wait = card.locator(".waited")
    expect(wait).to_have_text("waiting time (p95) 17 min")
    expect(wait).to_have_class("waited now" if is_now else "waited")
    expect(page.locator(".totals")).not_to_contain_text("17 min")
    expect(page.locator(f"{CARDS} .totals .bad")).to_have_count(0)
    assert violations(page) == []


def test_couriers_at_work_are_counted(page: Page) -> None:
    view(page, "operations")
    expect(page.locator(CARDS)).to_contain_text("1 at work")
    expect(page.locator(CARDS)).to_contain_text("None waiting")
    expect(page.locator("#banner")).to_be_empty()


def test_that_no_courier_runs_is_said_on_every_view_with_what_waits(page: Page, api: Api) -> None:
    page.set_viewport_size(PHONE)
    calls = {"due": 7, "later": 2, "under_way": 0}
    last = {"id": "worker_1", "host": "courier-a", "seen_at": 1}
    install_clock(page)
    with_couriers(page, api, workers=[], last_worker=last, queued=1, oldest_queued_s=9, webhook_calls=calls)
    advance_clock(page)
    expect(page.locator("#banner .brief")).to_contain_text("No courier runs.")
    expect(page.locator("#nav .count.bad")).to_be_visible()
    page.click("#banner a")
    banner, cards = page.locator("#banner"), page.locator(CARDS)
    expect(banner).to_contain_text("The courier on courier-a was seen last then.")
    expect(banner).to_contain_text(
        "1 job waits for pictures or files; 7 webhook calls wait; nothing is lost."
    )
    expect(banner).to_contain_text("sightline courier")
    expect(cards).to_contain_text("7 waiting, 2 failed, made again later")
    expect(cards).to_contain_text("1 job waiting, the oldest for 9.0 s")
    assert violations(page) == []
    assert page.evaluate(FITS)


def test_before_its_first_courier_has_come_a_new_service_is_not_called_broken(page: Page, api: Api) -> None:
    with_couriers(page, api, workers=[], last_worker=None)
    view(page, "operations")
    expect(page.locator(CARDS)).to_contain_text("CouriersNone")
    expect(page.locator("#banner")).to_be_empty()


def test_of_a_model_that_is_not_loaded_an_operator_reads_why_and_what_loads_it(page: Page, api: Api) -> None:
    fleet = api.get("/v1/admin/fleet").json()
    row = fleet["models"][0]
    since = {"since": 1_760_000_000, "estimated_time": 12.0, "reason": "room for org/b"}
    row |= {"state": "cold", "workers": [], "residency": {"state": "cold", **since}}
    page.route("**/fleet", lambda route: route.fulfill(json=fleet))
    view(page, "operations")
    card = page.locator(f'[data-model="{row["model"]}"].card')
    expect(card).to_contain_text("Cold")
    expect(card).to_contain_text("A question loads it, in about 12 s. Unloaded")
    expect(card).to_contain_text("room for org/b")
    expect(page.locator("#banner")).to_be_empty()
    assert violations(page) == []


def test_an_operator_unloads_a_loaded_model(page: Page, api: Api) -> None:
    name = api.get("/v1/admin/fleet").json()["models"][0]["model"]
    page.route("**/unload", lambda route: route.fulfill(status=202, json={}))
    view(page, "operations")
    card = page.locator(f'[data-model="{name}"].card')
    with page.expect_request(f"**/v1/models/{name}/unload") as sent:
        card.locator("[data-do=unload]").click()
    assert sent.value.method == "POST"
    expect(page.locator("#toasts")).to_contain_text("is unloaded once what runs has finished")
    assert violations(page) == []


def test_what_was_refused_in_the_last_minutes_is_said_by_its_reason(page: Page) -> None:
    page.set_viewport_size(PHONE)
    nothing, refusals = [0] * 89, dict[str, list[int]]()
    # Other tests' refusals are of the same minutes.
    page.route("**/series?*", lambda route: route.fulfill(json=route.fetch().json() | {"refusals": refusals}))
    view(page, "operations")
    expect(page.locator(CARDS)).to_contain_text("No request: the service took all that it could.")
    refusals |= {
        "queue_full": [*nothing, 3],
        "rate_limited": [1234, *nothing],
        "new_code": [1, *nothing],
    }
    page.reload()
    expect(page.locator("[title=rate_limited]")).to_contain_text(
        "1,234A key's requests for that minute were used up"
    )
    expect(page.locator("[title=queue_full]")).to_contain_text("3A model's line was full")
    expect(page.locator("[title=new_code]")).to_contain_text("1New code")
    card = page.locator(".card", has=page.get_by_role("heading", name="Refused in 15 min"))
    expect(card.locator("li").first).to_have_attribute("title", "rate_limited")
    assert violations(page) == []
    assert page.evaluate(FITS)
