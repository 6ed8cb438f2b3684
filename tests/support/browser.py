"""What a person does on the page, in Chromium."""

import base64
import shutil
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Request, Route, ViewportSize, expect

from tests.support.patience import PATIENCE_S
from tests.support.service import ROOT

HEADLESS_SHELL = shutil.which("chromium-headless-shell")
"""Without windows: half the work for a page. For tests; figures and pictures are the whole browser's."""
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or HEADLESS_SHELL
DESK: ViewportSize = {"width": 1180, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 760}
FITS = "document.scrollingElement.scrollWidth <= window.innerWidth"
ROUND = "async () => void (await fetch('page/mark.svg'))"
"""Behind it the page has done what it had to do at once."""
NOTHING: dict[str, Any] = {"object": "list", "data": [], "has_more": False, "next": None}
LONG = "say a very long answer " * 40
LOOKS_MS = 20_000

expect.set_options(timeout=1000 * PATIENCE_S)


def ask(page: Page, model: str, question: str) -> None:
    page.select_option("#model", model)
    page.fill("#question", question)
    page.keyboard.press("Enter")


def turn(page: Page) -> Locator:
    """The latest question with its answer."""
    return page.locator(".turn").last


def status(page: Page, word: str) -> None:
    """The latest question has come so far."""
    expect(turn(page)).to_have_attribute("data-status", word)


def view(page: Page, name: str) -> None:
    page.evaluate("(name) => { location.hash = name; }", name)


def type_key(page: Page, key: str) -> None:
    view(page, "key")
    page.fill("#key-field", key)
    page.press("#key-field", "Enter")


def new_question(page: Page) -> None:
    page.click("[data-do=new]:visible")


def agree(page: Page) -> None:
    """To what the page asks before it cannot be undone."""
    page.click("#confirmation-yes")


def posts(page: Page, ending: str = "/v1/jobs") -> list[str]:
    """The bodies that the page sends from now on."""
    sent: list[str] = []

    def keep(asked: Request) -> None:
        if asked.method == "POST" and asked.url.endswith(ending):
            sent.append(asked.post_data or "")

    page.on("request", keep)
    return sent


def gets(page: Page, ending: str) -> list[str]:
    """What the page looks up from now on."""
    looked: list[str] = []
    page.on("request", lambda asked: looked.append(asked.url) if asked.url.endswith(ending) else None)
    return looked


def answered(page: Page, pattern: str, *answers: tuple[int, dict[str, str], str]) -> None:
    """Give these answers first, as a proxy may; after them the service's own."""
    left = list(answers)

    def give(route: Route) -> None:
        if not left:
            return route.continue_()
        status, headers, body = left.pop(0)
        return route.fulfill(status=status, headers=headers, body=body)

    page.route(pattern, give)


def held(page: Page, pattern: str, method: str = "GET") -> list[Route]:
    """Hold back what the page's code asks for until the test lets it go; an `img` may ask for the same."""
    kept: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == method and route.request.resource_type != "image":
            kept.append(route)
        else:
            route.fallback()

    page.route(pattern, hold)
    return kept


def drop(page: Page, place: str, content: bytes, name: str, kind: str, then: str = "") -> bool:
    """Drop a file; whether the page kept the browser from opening it. `then` runs right after."""
    script = """([place, content, name, type, then]) => {
      const carried = new DataTransfer(), bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
      carried.items.add(new File([bytes], name, { type }));
      const event = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: carried });
      document.querySelector(place).dispatchEvent(event);
      if (then) document.querySelector(then).requestSubmit();
      return event.defaultPrevented;
    }"""
    return bool(page.evaluate(script, [place, base64.b64encode(content).decode(), name, kind, then]))


def attach_sample(page: Page, name: str = "shapes") -> None:
    """One of the page's own pictures, as a file."""
    drop(page, "#question", (ROOT / f"api/page/{name}.png").read_bytes(), f"{name}.png", "image/png")
    expect(page.locator("#attached img").last).to_be_visible()


def install_clock(page: Page) -> None:
    """Load the page anew under a clock of the test's, which goes on by itself until it is put forward."""
    page.clock.install()
    page.reload()
    expect(page.locator("#model option")).not_to_have_count(0)


def advance_clock(page: Page) -> None:
    """The longest pause of the page's between two looks at the service has passed."""
    page.clock.run_for(LOOKS_MS)


def hide(page: Page, *, hidden: bool) -> None:
    """Hide the page, as a browser does with a tab in the background."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def violations(page: Page) -> list[str]:
    """What axe finds wrong with what is shown, by day and by night; colours are all that differs then."""
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    whole = Axe().run(page, options={"resultTypes": ["violations"]})
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    colours = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": ["color-contrast"]})
    found = (("light", whole), ("dark", colours))
    return [f"{scheme}: {r.generate_report()}" for scheme, r in found if r.violations_count]


def watch(page: Page, place: str) -> None:
    """From now on `window.seen` has every text that the first such element has shown."""
    page.evaluate(
        """(place) => {
          window.seen = [];
          const look = () => window.seen.push(document.querySelector(place)?.textContent ?? "");
          const all = { childList: true, characterData: true, subtree: true };
          new MutationObserver(look).observe(document.body, all);
        }""",
        place,
    )
