"""The page where the service, the line or another answer comes in between; in a real browser."""

import base64
import json
import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import ECHO, SLOW, TINY
from tests.support.browser import LONG, ROUND, answered, ask, gets, held, hide, posts, status, turn, watch
from tests.support.clients import Api, until
from tests.support.receiver import receiver
from tests.support.service import ROOT

EVENTS = "**/events"
SSE = {"content-type": "text/event-stream"}
BEGUN = (200, SSE, 'id: 1\nevent: queued\ndata: {"at":1}\n\n')
SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSBjYWxsZXIgaXRzZWxm"
SHAPES = base64.b64encode((ROOT / "api/page/shapes.png").read_bytes()).decode()
ANSWER_MS = 10_000
"""So long the page hears nothing before it says so."""
DRIPPING = """{
  const real = window.fetch;
  const slow = (signal) => new ReadableStream({ start: (to) => {
    signal.addEventListener("abort", () => to.error(signal.reason));
    // Back when the page has read it, which a call to the service is behind.
    window.drip = async (piece) => {
      if (piece === null) to.close();
      else to.enqueue(new TextEncoder().encode(piece));
      await real("page/mark.svg");
    };
  } });
  window.unanswered = 0;
  window.fetch = async (path, asked) => {
    if (path === "v1/live") return new Response(new ReadableStream());
    if (path.startsWith("v1/jobs?")) return new Response(slow(asked.signal));
    window.unanswered++;
    const answer = await real(path, asked);
    await answer.clone().text();
    window.unanswered--;
    return answer;
  };
}"""
"""The list of jobs comes piece by piece, as the test says; it is told how many other calls are unanswered."""


FAULTS = (
    (200, SSE, 'data: {"error":{"code":"store_unavailable"}}\nevent: error\n\n'),
    (503, {"content-type": "application/problem+json"}, '{"detail":"The record store is away."}'),
    (429, {"retry-after": "1"}, '{"detail":"Too many requests."}'),
    (502, {"content-type": "text/html"}, "<h1>Bad gateway</h1>"),
)


def open_job(page: Page, job: str) -> None:
    page.evaluate("(job) => { location.hash = `jobs/${job}`; }", job)


def test_no_passing_refusal_ends_an_answer(page: Page) -> None:
    # Each behind something good, so that the page does not wait longer and longer.
    answered(page, EVENTS, *(answer for fault in FAULTS for answer in (BEGUN, fault)))
    watch(page, ".turn")
    ask(page, SLOW, "no passing refusal")
    status(page, "succeeded")
    expect(turn(page).locator(".answer")).to_have_text("no passing refusal")
    # It stands there for a moment only.
    until(lambda: any("connection lost, trying again" in text for text in page.evaluate("window.seen")))


def test_a_question_whose_answer_was_lost_is_one_job(page: Page, api: Api) -> None:
    kept: list[Route] = []

    def lose(route: Route) -> None:
        if route.request.method != "POST" or kept:
            return route.fallback()
        kept.append(route)
        route.fetch()
        return route.abort("connectionreset")

    page.route("**/v1/jobs", lose)
    ask(page, ECHO, "asked but once")
    status(page, "succeeded")
    listed = api.get("/v1/jobs", params={"search": "asked but once"}).json()["data"]
    assert len(listed) == 1


def test_a_conversation_that_is_opened_while_the_service_is_away_is_there_when_it_is_back(page: Page) -> None:
    ask(page, ECHO, "before the reload")
    status(page, "succeeded")
    answered(page, "**/v1/jobs/job_*", (503, {"retry-after": "1"}, '{"detail":"The record store is away."}'))
    page.reload()
    status(page, "succeeded")
    expect(turn(page).locator(".answer")).to_have_text("before the reload")


def test_a_job_is_changed_with_all_that_it_was_asked_with_or_not_at_all(page: Page, api: Api) -> None:
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}}
    question = {"model": TINY, "input": {"prompt": "What colour?", "image": SHAPES}}
    job = api.ended(api.submit(**question, parameters={"structured_outputs": {"json": schema}}))
    open_job(page, job["id"])
    page.click("[data-do=edit-job]")
    expect(page.locator("#json")).to_be_checked()
    assert json.loads(page.input_value("#schema"))["properties"] == schema["properties"]
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What now?"}]
    open_job(page, api.ended(api.submit(model=ECHO, messages=turns))["id"])
    expect(page.locator("[data-do=retry-job]")).to_be_visible()
    expect(page.locator("[data-do=edit-job]")).to_be_hidden()


def test_a_job_that_is_gone_is_not_asked_for_for_ever(page: Page) -> None:
    answered(page, EVENTS, BEGUN, (404, {}, '{"detail":"There is no such job."}'))
    ask(page, SLOW, "a job that goes")
    expect(turn(page).locator(".answer")).to_have_text("There is no such job.")


def test_a_cancel_during_sending_is_not_forgotten_and_asking_twice_sends_once(page: Page) -> None:
    sending, sent = held(page, "**/v1/jobs", "POST"), posts(page)
    ask(page, SLOW, "sending: " + LONG)
    status(page, "sending")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(turn(page).locator(".note")).to_have_text("will be cancelled as soon as it is submitted")
    sending[0].continue_()
    status(page, "cancelled")
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("started_at", "words"),
    [(None, "Stopped before it began."), (1.5, "Stopped before its first word.")],
    ids=["waiting", "running"],
)
def test_a_stopped_answer_says_whether_it_had_begun(
    page: Page, api: Api, started_at: float | None, words: str
) -> None:
    job = api.ended(api.submit(model=ECHO, input={"prompt": "a pattern"}))
    stopped = job | {"status": "cancelled", "started_at": started_at}
    del stopped["result"]
    event = f"event: cancelled\nid: 3\ndata: {json.dumps({'job': stopped, 'at': 2.5})}\n\n"
    answered(page, "**/v1/jobs", (202, {}, json.dumps(job | {"status": "queued"})))
    answered(page, EVENTS, (200, {"content-type": "text/event-stream"}, event))
    ask(page, ECHO, "and stop")
    status(page, "cancelled")
    expect(turn(page).locator(".answer")).to_have_text(words)


def test_a_refused_cancel_does_not_look_like_a_failed_job(page: Page) -> None:
    answered(page, "**/cancel", (503, {}, '{"detail":"The record store is away."}'))
    ask(page, SLOW, "refused: " + LONG)
    expect(turn(page).locator(".answer")).to_contain_text("refused")
    page.keyboard.press("Escape")
    expect(turn(page).locator(".note")).to_have_text("Not cancelled: The record store is away.")
    status(page, "running")
    page.keyboard.press("Escape")
    status(page, "cancelled")


def test_what_was_asked_again_before_a_refusal_is_not_asked_once_more(page: Page, api: Api) -> None:
    ids = [api.submit(model=ECHO, input={"prompt": f"again {n}"}) for n in range(2)]
    for id in ids:
        api.ended(id)
    sent: list[str] = []

    def give(route: Route) -> None:
        sent.append(route.request.url)
        if len(sent) == 2:
            return route.fulfill(status=429, json={"detail": "Too many requests."})
        return route.continue_()

    page.route("**/retry", give)
    page.evaluate("location.hash = 'jobs'")
    for id in ids:
        page.check(f'#job-list input[data-job="{id}"]')
    page.click("[data-do=retry-chosen]")
    expect(page.locator("#toasts")).to_contain_text("Too many requests.")
    page.click("[data-do=retry-chosen]")
    expect(page.locator("#toasts")).to_contain_text("1 job asked again")
    assert (len(sent), len(set(sent))) == (3, 2)


def test_the_drawer_never_shows_another_job_s_facts(page: Page, api: Api) -> None:
    first, second = (api.submit(model=ECHO, input={"prompt": text}) for text in ("the first", "the second"))
    late = held(page, f"**/v1/jobs/{first}")
    open_job(page, first)
    until(lambda: page.evaluate("1") and late)
    with page.expect_event("requestfailed", lambda request: request.url.endswith(first)):
        page.keyboard.press("Escape")
    open_job(page, second)
    expect(page.locator("#panel .answer")).to_have_text("the second")


def test_an_ended_job_never_offers_to_be_cancelled_while_its_events_are_read(page: Page, api: Api) -> None:
    job = api.ended(api.submit(model=ECHO, input={"prompt": "ended long ago"}))["id"]
    # Cut off behind its start, so that this is shown before the rest comes.
    answered(page, EVENTS, (200, SSE, BEGUN[2] + 'id: 2\nevent: running\ndata: {"at":2}\n\n'))
    watch(page, "#drawer footer")
    open_job(page, job)
    expect(page.locator("#panel .answer")).to_have_text("ended long ago")
    assert not any("Cancel" in text for text in page.evaluate("window.seen"))


def test_a_double_click_asks_again_once(page: Page, api: Api) -> None:
    job = api.ended(api.submit(model=ECHO, input={"prompt": "clicked twice"}))["id"]
    asked, sent = held(page, "**/retry", "POST"), posts(page, "/retry")
    open_job(page, job)
    page.dblclick("[data-do=retry-job]")
    page.evaluate(ROUND)
    until(lambda: page.evaluate("1") and asked)
    asked[0].continue_()
    expect(page.locator("#drawer code").first).not_to_have_text(job)
    assert len(sent) == 1


def test_an_open_jobs_pictures_are_read_small(page: Page, api: Api) -> None:
    job = api.ended(api.submit(model=ECHO, input={"prompt": "three pictures", "images": [SHAPES] * 3}))["id"]
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    with page.expect_response(f"**/{job}/pictures/2?side=512"):
        open_job(page, job)
    assert re.findall(rf"{job}/pictures/\d\?side=(?!256)(\d+)", "\n".join(urls)) == ["512"] * 3


def test_the_list_shows_what_was_looked_for_last(page: Page, api: Api) -> None:
    api.ended(api.submit(model=ECHO, input={"prompt": "one that ends"}))
    page.goto(f"{page.url}#jobs")
    ended = page.locator("#job-list [data-status=succeeded]")
    expect(ended).not_to_have_count(0)
    late = held(page, "**/v1/jobs?*model=test*")
    page.select_option("#by-model", ECHO)
    until(lambda: page.evaluate("1") and late)
    with page.expect_event("requestfailed", lambda request: "model=test" in request.url):
        page.select_option("#by-model", TINY)
    expect(ended.filter(has_text="echo")).to_have_count(0)


def test_an_open_job_tells_what_its_webhook_answered_at_the_end(page: Page, api: Api) -> None:
    # Two, for a machine that stands still until the first call's time is over.
    with receiver((500, {}), (500, {})) as there:
        there.open.clear()
        job = api.submit(
            model=SLOW, input={"prompt": "tell me"}, webhook={"url": there.url, "secret": SECRET}
        )
        open_job(page, job)
        expect(page.locator("#drawer-title")).to_have_text("Done")
        page.click("[data-tab=webhook]")
        there.open.set()
        expect(page.locator("#panel")).to_contain_text("500")
        expect(page.locator("#panel")).to_contain_text("204")


def test_each_delivery_of_a_job_s_webhook_has_its_own_tries(page: Page, api: Api) -> None:
    with receiver((500, {})) as there:
        hook = {"url": there.url, "secret": SECRET, "events": ["job.running", "job.succeeded"]}
        job = api.submit(model=ECHO, input={"prompt": "tell me twice"}, webhook=hook)
        until(lambda: len(there.calls) == 3)
        open_job(page, job)
        page.click("[data-tab=webhook]")
        headings = page.locator("#panel h3")
        expect(headings).to_have_count(2)
        expect(page.locator("#panel li", has_text="try 2")).to_have_count(1)
        page.click("[data-do=redeliver]")
        expect(headings).to_have_count(3)
        expect(headings.last).to_have_text("That it is done, sent again")
        expect(page.locator("#panel li").last).to_contain_text("Delivered · 204")
        expect(page.locator("#panel li", has_text="try 2")).to_have_count(1)


def test_an_open_job_is_read_again_when_the_service_says(page: Page, api: Api) -> None:
    with receiver() as there:
        there.open.clear()
        hook = {"url": there.url, "secret": SECRET}
        job = api.submit(model=ECHO, input={"prompt": "never told"}, webhook=hook)
        text, looks = json.dumps(api.ended(job)), gets(page, job)
        answered(page, f"**/v1/jobs/{job}", (200, {}, text), (429, {"retry-after": "9"}, text))
        page.clock.install(time=0)
        page.clock.pause_at(3600)
        open_job(page, job)
        until(lambda: page.evaluate("1") and len(looks) == 2)
        for _ in range(8):
            page.evaluate(ROUND)
            page.clock.run_for(1000)
        assert len(looks) == 2
        with page.expect_request(f"**/v1/jobs/{job}"):
            page.clock.run_for(1000)


def test_an_open_job_shows_each_of_its_answers(page: Page, api: Api) -> None:
    asked = {"n": 2, "do_sample": True}
    job = api.ended(api.submit(model=ECHO, input={"prompt": "said twice"}, parameters=asked))["id"]
    open_job(page, job)
    expect(page.locator("#panel .answer h3")).to_have_text(["Answer 1", "Answer 2"])


def test_a_job_of_thousands_of_pieces_is_drawn_as_finely_as_can_be_seen(page: Page, api: Api) -> None:
    job = api.submit(model=ECHO, input={"prompt": "x"})
    end = api.ended(job)
    begun, span = end["created_at"], end["ended_at"] - end["created_at"]
    pieces = [("text", {"at": begun + span * n / 3000, "start": n, "text": "x"}) for n in range(3000)]
    story = [*pieces, ("succeeded", {"at": begun + span, "job": end})]
    body = "".join(
        f"id: {n}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for n, (kind, data) in enumerate(story, 1)
    )
    answered(page, EVENTS, (200, SSE, body))
    open_job(page, job)
    marks = page.locator("#drawer svg.timeline .mark")
    expect(marks).not_to_have_count(0)
    expect(page.locator("#drawer-title")).to_have_text("Done")
    assert marks.count() <= 701


def test_a_tab_holds_one_connection_however_much_it_follows(page: Page) -> None:
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/live")):
        ask(page, SLOW, "one connection: " + LONG)
    status(page, "running")
    with page.expect_request("**/v1/live"):
        page.keyboard.press("Escape")
    status(page, "cancelled")


def test_a_hidden_tab_gives_its_connection_back_and_misses_nothing(page: Page) -> None:
    words = " ".join(f"word{number}" for number in range(45))
    ask(page, SLOW, words)
    expect(turn(page).locator(".answer")).to_contain_text("word2")
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/events")):
        hide(page, hidden=True)
    status(page, "running")
    hide(page, hidden=False)
    status(page, "succeeded")
    expect(turn(page).locator(".answer")).to_have_text(words)


def test_a_service_that_hangs_is_noticed(page: Page) -> None:
    late = held(page, "**/v1/**")
    page.clock.install()
    page.reload()
    until(lambda: page.evaluate("1") and len(late) >= 2)
    page.clock.run_for(ANSWER_MS + 1000)
    expect(page.locator("#banner h2")).to_have_text("The service is unreachable. Trying again.")


def test_a_slow_line_is_not_out_of_reach(page: Page, api: Api) -> None:
    job = api.submit(model=ECHO, input={"prompt": "one on a slow line"})
    listed = api.get("/v1/jobs", params={"results": "false"}).text
    page.goto(f"{page.url}#jobs")
    page.clock.install()
    page.add_init_script(DRIPPING)
    page.reload()
    until(lambda: page.evaluate("Boolean(window.drip) && !window.unanswered"))
    for piece in (listed[:40], listed[40:80], listed[80:]):
        page.clock.run_for(ANSWER_MS * 3 // 5)
        page.evaluate("(piece) => drip(piece)", piece)
    page.evaluate("drip(null)")
    expect(page.locator(f'.job-row[data-job="{job}"]')).to_be_visible()
    expect(page.locator("#banner")).not_to_contain_text("unreachable")


def test_letters_beyond_the_basic_plane_come_whole_while_an_answer_is_made(page: Page) -> None:
    words = "😀😀😀😀😀 one two three"
    watch(page, ".answer .prose")
    ask(page, SLOW, words)
    status(page, "succeeded")
    assert [text for text in page.evaluate("window.seen") if not words.startswith(text)] == []


def test_a_job_asked_before_a_reload_can_be_cancelled(page: Page, api: Api) -> None:
    ask(page, SLOW, "reload: " + LONG)
    status(page, "running")
    page.reload()
    job = api.get("/v1/jobs?limit=1").json()["data"][0]["id"]
    open_job(page, job)
    page.click("[data-do=cancel-job]")
    expect(page.locator("#drawer-title")).to_have_text("Cancelled")
    expect(page.locator("[data-do=cancel-job]")).to_have_count(0)
