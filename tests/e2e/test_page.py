"""The page in a real browser: a person asks, sees the answer come, looks through jobs and watches the queue.

Needs Chromium (Debian: `apt install chromium-headless-shell`).
"""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.e2e.conftest import ECHO, SLOW, TINY
from tests.support.browser import (
    DESK,
    FITS,
    PHONE,
    advance_clock,
    agree,
    ask,
    attach_sample,
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
from tests.support.service import ROOT, Service

WIDE: ViewportSize = {"width": 2560, "height": 1300}
VIEWS = ("ask", "jobs", "operations", "keys", "key")
LIMIT_BYTES = 150_000
BYTES_LOADED = """["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
  .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""
PAINTED = """async () => {
  (await import("./page/store.js")).changed();
  await new Promise(requestAnimationFrame);
}"""
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
ASKED: dict[str, Any] = {
    "priority": "batch",
    "metadata": {"shop": "7"},
    "tools": [TOOL],
    "parameters": {
        "max_new_tokens": 9,
        "min_new_tokens": 1,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "logit_bias": {"5": -1.0},
        "seed": 7,
        "stop": ["END"],
        "logprobs": True,
        "top_logprobs": 2,
        "chat_template_kwargs": {"thinking": False},
        "num_frames": 4,
    },
}


def test_an_example_asks_at_once_and_what_the_model_is_stands_before_it_and_beside_the_answer(
    page: Page,
) -> None:
    for _ in range(2):
        expect(page.locator(".hero .about")).to_have_text("The model is tiny. A toy: coloured shapes.")
        page.click("#samples button >> nth=0")
        status(page, "succeeded")
        expect(turn(page).locator(".about")).to_have_text("The model is tiny. A toy: coloured shapes.")
        expect(turn(page).locator(".answer")).to_contain_text("triangle")
        expect(page.locator(".stage figcaption")).to_contain_text("114 · 64 tokens")
        new_question(page)
    page.click("#mine [data-do=talk] >> nth=0")
    expect(turn(page).locator(".cache")).to_have_text("Known already")
    expect(turn(page).locator(".cache")).to_have_attribute("title", "x-cache: HIT")


def test_a_follow_up_is_asked_about_the_same_picture(page: Page) -> None:
    attach_sample(page)
    ask(page, TINY, "What shapes are in this picture?")
    status(page, "succeeded")
    ask(page, TINY, "What color is the square?")
    expect(page.locator(".turn")).to_have_count(2)
    status(page, "succeeded")
    expect(turn(page).locator(".answer")).to_contain_text("urple")


def test_a_known_answer_can_be_followed_up_before_any_event_comes(page: Page) -> None:
    ask(page, ECHO, "known before its follow-up")
    status(page, "succeeded")
    new_question(page)
    held(page, "**/v1/jobs/*/events*")
    ask(page, ECHO, "known before its follow-up")
    status(page, "succeeded")
    sent = posts(page)
    ask(page, ECHO, "and then?")
    expect(page.locator(".turn")).to_have_count(2)
    until(lambda: page.evaluate("1") and sent)
    assert "assistant" in sent[0]


def test_a_phone_leads_from_an_answer_to_a_new_question_and_back(page: Page) -> None:
    page.set_viewport_size(PHONE)
    ask(page, ECHO, "the first of two")
    status(page, "succeeded")
    new_question(page)
    expect(page.locator(".turn")).to_have_count(0)
    page.click("#mine-open")
    page.click("#mine [data-do=talk] >> nth=0")
    expect(turn(page).locator("h2")).to_have_text("the first of two")
    expect(page.locator("#mine-box")).not_to_be_visible()
    page.click("#nav [href='#ask']")
    expect(page.locator(".turn")).to_have_count(0)
    assert page.evaluate(FITS)


def test_a_reload_keeps_the_questions_their_pictures_and_answers(page: Page) -> None:
    attach_sample(page)
    ask(page, ECHO, "about shapes")
    status(page, "succeeded")
    new_question(page)
    attach_sample(page)
    for text in ("before the reload", "and a follow-up"):
        ask(page, ECHO, text)
        expect(turn(page).locator("h2")).to_have_text(text)
        status(page, "succeeded")
    page.reload()
    status(page, "succeeded")
    expect(page.locator("#model")).to_have_value(ECHO)
    expect(turn(page).locator(".answer")).to_contain_text("and a follow-up")
    expect(page.locator(".turn >> nth=0").locator(".thumb img")).to_be_visible()
    expect(page.locator(".turn >> nth=0").locator(".answer")).to_contain_text("before the reload")
    expect(page.locator("#mine [data-do=talk]", has_text="about shapes").locator("img")).to_be_visible()


def test_earlier_messages_that_are_opened_stay_open_while_the_page_is_painted(page: Page) -> None:
    for text in ("the first message", "and the second"):
        ask(page, ECHO, text)
        status(page, "succeeded")
    turn(page).locator("a", has_text="Job").click()
    expect(page.locator("#drawer-title")).to_be_focused()
    earlier = page.locator("#drawer details", has_text="earlier messages")
    earlier.locator("summary").click()
    page.evaluate(PAINTED)
    expect(earlier).to_contain_text("the first message")
    expect(earlier.locator("p").first).to_be_visible()


def test_a_stopped_service_is_said_with_what_to_do_and_a_stream_goes_on_when_it_is_back(
    page: Page, service: Service
) -> None:
    words = " ".join(f"word{number}" for number in range(25))
    ask(page, SLOW, words)
    expect(turn(page).locator(".answer")).to_contain_text("word3")
    service.kill("api")
    banner = page.locator("#banner")
    expect(banner).to_contain_text("The service is unreachable. Trying again.")
    expect(banner).to_contain_text("sightline run")
    service.ready("api")
    expect(banner).to_be_empty()
    status(page, "succeeded")
    expect(turn(page).locator(".answer")).to_contain_text(words)


def test_the_place_in_line_is_seen_while_waiting(page: Page, api: Api) -> None:
    first = api.submit(model=SLOW, input={"prompt": "before: " + "one two three " * 40})
    behind = [api.submit(model=SLOW, input={"prompt": f"{n}: " + "one two " * 20}) for n in range(2)]
    ask(page, SLOW, "after them")
    expect(turn(page).locator(".place")).to_contain_text("in line")
    expect(page.locator("#announcement")).to_contain_text("in line")
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        expect(turn(page).locator(".queue .me")).to_be_visible()
    for job in (first, *behind):
        api.post(f"/v1/jobs/{job}/cancel")
    status(page, "succeeded")


def test_what_it_would_cost_is_said_before_asking(page: Page) -> None:
    page.select_option("#model", TINY)
    expect(page.locator("#forecast")).to_contain_text("256 pictures, ")
    page.fill("#question", "What is a receipt?")
    expect(page.locator("#forecast")).to_contain_text("tokens")
    page.click("#settings-open")
    page.fill("#max", "100000")
    expect(page.locator("#changed")).to_have_text("100,000 tokens")


def test_what_each_picture_takes_is_said_where_it_is_attached_and_shown(page: Page, api: Api) -> None:
    shapes = (ROOT / "api/page/shapes.png").read_bytes()
    asked = {"prompt": "x", "image": base64.b64encode(shapes).decode()}
    counted = api.post("/v1/estimate", json={"model": TINY, "input": asked}).json()["tokens"]
    words = f"{counted['pictures'][0]} tokens"
    page.select_option("#model", TINY)
    attach_sample(page)
    drop(page, "#question", shapes, "again.png", "image/png")
    expect(page.locator("#attached .tokens")).to_have_text([words, words])
    page.press("#question", "Enter")
    status(page, "succeeded")
    expect(page.locator(".stage figcaption")).to_contain_text(words)
    drop(page, "#question", shapes, "third.png", "image/png")
    expect(page.locator("#attached .tokens")).to_have_text([words])


def test_open_jobs_are_counted_in_the_menu_and_a_paused_model_is_said_before_asking(
    page: Page, api: Api
) -> None:
    menu = page.locator("#nav [href='#jobs']")
    install_clock(page)
    page.select_option("#model", ECHO)
    with api.paused(ECHO):
        jobs = [api.submit(model=ECHO, input={"prompt": f"open {n}"}) for n in range(2)]
        advance_clock(page)
        expect(menu).to_have_text("Jobs2 not ended")
        expect(page.locator("#forecast")).to_contain_text("The model is paused")
        for job, words in zip(jobs, ("Jobs1 not ended", "Jobs"), strict=True):
            api.post(f"/v1/jobs/{job}/cancel")
            advance_clock(page)
            expect(menu).to_have_text(words)


def test_an_answer_is_copied_and_its_question_asked_again_with_other_settings(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page, ECHO, "to be **copied** and asked again")
    status(page, "succeeded")
    turn(page).locator("[data-do=copy]").first.click()
    expect(page.locator("#toasts")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "to be **copied** and asked again"
    turn(page).locator("[data-do=again]").click()
    expect(page.locator("#question")).to_have_value("to be **copied** and asked again")
    page.fill("#max", "2")
    page.check("#fresh")
    page.press("#question", "Enter")
    expect(page.locator(".turn")).to_have_count(2)
    status(page, "succeeded")
    expect(turn(page).locator(".cache")).to_have_text("Cache skipped")


@pytest.mark.parametrize("language", ["curl", "hf", "openai", "js"])
def test_a_program_asks_with_all_that_a_job_was_asked_with(
    page: Page, api: Api, language: str, tmp_path: Path
) -> None:
    question = 'costs $5, `really`? "yes" \\ it\'s'
    image = base64.b64encode((ROOT / "api/page/shapes.png").read_bytes()).decode()
    job = api.submit(model=ECHO, input={"prompt": question, "image": image}, **ASKED)
    assert api.ended(job)["status"] == "succeeded"
    asked = api.get(f"/v1/jobs/{job}/request").json()
    view(page, f"jobs/{job}")
    page.click("[data-tab=program]")
    page.click(f"[data-language={language}]")
    expect(page.locator(f"[data-language={language}]")).to_have_attribute("aria-selected", "true")
    code = page.text_content(".snippet code") or ""
    if language == "js":
        said: list[str] = []
        page.on("console", lambda line: said.append(line.text))
        for program in (code, code.replace(ECHO, "test/none")):
            page.evaluate(f"(async () => {{ {program} }})()")
        printed = said[0]
        assert any("test/none" in line for line in said[1:])
    else:
        command = ["sh", "-c", code] if language == "curl" else [sys.executable, "-c", code]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        printed = json.loads(ran.stdout)["result"]["text"] if language == "curl" else ran.stdout.strip()
    assert printed == f"{question} [128x114]"
    newest = api.get("/v1/jobs?limit=1").json()["data"][0]["id"]
    assert newest != job
    again = api.get(f"/v1/jobs/{newest}/request").json()
    # Its picture is that of the first job, and no longer sent.
    assert again | {"id": job, "messages": asked["messages"]} == asked


def test_the_list_is_gone_through_by_keys_and_each_job_shows_its_attempts(page: Page, api: Api) -> None:
    older, newer = (api.submit(model=ECHO, input={"prompt": text}) for text in ("older", "newer"))
    view(page, "jobs")
    expect(page.locator(f'#job-list [data-job="{newer}"] .words')).to_be_visible()
    for key, job in (("j", newer), ("j", older), ("k", newer)):
        page.keyboard.press(key)
        expect(page.locator("#drawer code").first).to_have_text(job)
    expect(page.locator("#panel")).to_contain_text("Attempts")
    expect(page.locator("#drawer svg.timeline rect.run")).to_have_count(1)
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()


def test_a_job_that_is_deleted_leaves_its_conversation(page: Page) -> None:
    for text in ("one that stays", "one that goes"):
        ask(page, ECHO, text)
        expect(turn(page).locator("h2")).to_have_text(text)
        status(page, "succeeded")
    turn(page).locator("a", has_text="Job").click()
    page.click("[data-do=delete-job]")
    agree(page)
    expect(page.locator("#drawer")).to_be_hidden()
    view(page, "ask")
    expect(page.locator(".turn h2")).to_have_text(["one that stays"])
    page.reload()
    expect(page.locator(".turn h2")).to_have_text(["one that stays"])


def test_a_text_jobs_row_has_a_legend_and_no_picture(
    page: Page,
) -> None:
    ask(page, ECHO, "what is a bar")
    status(page, "succeeded")
    expect(turn(page).locator(".facts")).not_to_contain_text("token")
    expect(turn(page).locator(".facts [title*=token]")).to_be_visible()
    view(page, "jobs")
    expect(page.locator(".columns .spent")).to_have_text("Waitedran")
    colors = "nodes => nodes.map((node) => getComputedStyle(node).backgroundColor)"
    assert page.locator(".columns .key i").evaluate_all(colors) == page.locator(
        ".job-row .bar >> nth=0 >> i"
    ).evaluate_all(colors)
    expect(page.locator(".job-row .pic").first).to_be_empty()
    assert violations(page) == []


def test_jobs_are_cancelled_and_asked_again_together(page: Page, api: Api) -> None:
    with api.paused(ECHO):
        ids = [api.submit(model=ECHO, input={"prompt": f"together {n}"}) for n in range(3)]
        view(page, "jobs")
        page.fill("#search", "together")
        expect(page.locator(".job-row")).to_have_count(3)
        page.check("#columns input")
        page.click("[data-do=cancel-chosen]")
        expect(page.locator("#toasts")).to_contain_text("3 jobs cancelled")
        for id in ids:
            expect(page.locator(f'#job-list .job-row[data-job="{id}"]')).to_have_attribute(
                "data-status", "cancelled"
            )
            page.check(f'#job-list input[data-job="{id}"]')
        page.click("[data-do=retry-chosen]")
        expect(page.locator("#toasts")).to_contain_text("3 jobs asked again")
        waiting = api.get(f"/v1/jobs?status=queued&model={ECHO}").json()["data"]
        assert sorted(job["retry_of"] for job in waiting) == sorted(ids)
        for job in waiting:
            api.post(f"/v1/jobs/{job['id']}/cancel")


def test_the_queue_shows_what_waits_and_which_workers_live(page: Page, api: Api) -> None:
    view(page, "operations")
    card = page.locator(f'.model[data-model="{ECHO}"]')
    card.locator(".crew li b").first.evaluate("(it) => void (it.marked = true)")
    card.locator("[data-do=pause]").click()
    try:
        waiting = {"model": ECHO, "input": {"prompt": "wait"}, "priority": "batch"}
        job = api.post("/v1/jobs", json=waiting).json()["id"]
        expect(card.locator("header .state")).to_have_text("Paused")
        expect(card.locator(".classes .batch")).to_have_text("1 batch")
        expect(card.locator(".crew li")).to_have_count(1)
        assert card.locator(".crew li b").first.evaluate("(it) => it.marked"), (
            "what is selected would be lost"
        )
        api.post(f"/v1/jobs/{job}/cancel")
    finally:
        card.locator("[data-do=resume]").click()
    expect(card.locator("header .state")).to_have_text("Ready")


def test_what_a_model_says_is_text_and_never_markup(page: Page) -> None:
    ask(page, ECHO, "<img src=x onerror=alert(1)><b>bold</b> and **strong**")
    status(page, "succeeded")
    expect(turn(page).locator(".answer")).to_contain_text("<b>bold</b> and strong")
    expect(turn(page).locator(".answer :is(img, b)")).to_have_count(0)
    expect(turn(page).locator(".answer strong")).to_have_text("strong")


def test_a_refusal_says_what_to_do(page: Page) -> None:
    page.click("#pictures-open")
    page.fill("#url", "http://10.0.0.1/x.png")
    page.press("#url", "Enter")
    expect(page.locator("#question")).to_be_focused()
    expect(page.locator("#attached .named")).to_have_text("http://10.0.0.1/x.png")
    ask(page, ECHO, "what is there")
    status(page, "failed")
    expect(turn(page).locator(".failure")).not_to_be_empty()


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "wide"])
def test_it_fits_every_screen(page: Page, size: ViewportSize) -> None:
    page.set_viewport_size(size)
    for name in VIEWS:
        view(page, name)
        expect(page.locator(f"#view-{name}")).to_be_visible()
        assert page.evaluate(FITS), name


def test_the_colours_that_were_chosen_stay(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    dark = "rgb(14, 16, 19)"
    expect(page.locator("body")).not_to_have_css("background-color", dark)
    page.click("[data-do=theme]")
    expect(page.locator("body")).to_have_css("background-color", dark)
    page.reload()
    expect(page.locator("body")).to_have_css("background-color", dark)


def test_the_first_load_is_small(page: Page) -> None:
    page.reload()
    expect(page.locator("#model option")).not_to_have_count(0)
    assert 10_000 < page.evaluate(BYTES_LOADED) < LIMIT_BYTES


def test_the_api_is_described_in_the_browser_and_its_examples_run(page: Page, service: Service) -> None:
    """From the service's own files: what it asks of others, or its policy forbids, fails the test."""
    page.goto(f"{service.url()}/docs")
    submit = page.locator(".opblock-post", has=page.locator("[data-path='/v1/jobs']"))
    submit.locator(".opblock-summary").click()
    submit.locator("button.execute").click()
    expect(submit.locator(".live-responses-table tbody .response-col_status")).to_have_text("202")
