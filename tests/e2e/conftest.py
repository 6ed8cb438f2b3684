"""One service for all these tests: starting it costs more than most of them."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.browser import CHROMIUM, DESK, HEADLESS_SHELL
from tests.support.clients import Api
from tests.support.service import COURIER, TINY_ROW, Service, running_service, watched

TINY, ECHO, SLOW = "sightline/tiny", "test/echo", "test/slow"
WIDE, STALL = "test/wide", "STALL"
"""A question to this model that holds the word has no answer until its caller leaves."""
ALWAYS = ("api", "api-2", COURIER, ECHO, SLOW, TINY)

MODELS = f"""{TINY_ROW}description = "A toy: coloured shapes."

[[models]]
id = "{ECHO}"
engine = "echo"
rows = 4

[[models]]
id = "{SLOW}"
engine = "echo"
rows = 1
options = {{ step_s = 0.1 }}

[[models]]
id = "test/late"
engine = "echo"
options = {{ load_s = 3 }}

[[models]]
id = "test/unserved"
engine = "echo"

[[models]]
id = "{WIDE}"
engine = "echo"
rows = 4
options = {{ stall_on = "{STALL}" }}
"""
# Short enough that a killed worker's run is seen again soon, longer than a machine may stand still.
ENV = {
    "SIGHTLINE_QUEUE__LEASE_S": "5",
    "SIGHTLINE_QUEUE__RENEW_S": "0.5",
    "SIGHTLINE_QUEUE__RESCUE_S": "0.2",
    "SIGHTLINE_QUEUE__DRAIN_S": "1",
    "SIGHTLINE_API__LEAVE_GRACE_S": "0.5",
    "SIGHTLINE_FETCH__ALLOW": "127.0.0.1",
    # As long as a machine may stand still, and longer.
    "SIGHTLINE_FETCH__LIMIT_S": "60",
    "SIGHTLINE_PICTURES__DECODE_LIMIT_S": "60",
    "SIGHTLINE_SOUNDS__DECODE_LIMIT_S": "60",
    # A killed courier's call comes again after this and 5 s.
    "SIGHTLINE_WEBHOOK__LIMIT_S": "12",
    "SIGHTLINE_WEBHOOK__DELAYS_S": "0.2,0.2",
}


# No longer than these tests run: processes with nothing to do take time from whoever has.
@pytest.fixture(scope="package")
def _shared() -> Iterator[Service]:
    with running_service(MODELS, ENV) as service:
        service.start(*ALWAYS)
        yield service


@pytest.fixture
def service(_shared: Service) -> Iterator[Service]:
    """Everything in ALWAYS runs, whatever the test before has killed."""
    with watched(_shared, ALWAYS):
        yield _shared


@pytest.fixture
def api(service: Service) -> Iterator[Api]:
    with Api(service.url()) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Per file: while one runs no other event loop can."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        # A container's root has no sandbox to use, and the only page it opens is ours. Where there is no GPU,
        # to do without one takes less than to compute what one would.
        args = ["--no-sandbox", "--disable-gpu"]
        yield playwright.chromium.launch(executable_path=HEADLESS_SHELL or CHROMIUM, args=args)


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """The page, opened; whatever it complains of or asks of other hosts fails the test."""
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if "Content Security" in line.text else None)
    page.on("request", lambda asked: wrong.append(asked.url) if _is_foreign(asked.url, service) else None)
    page.goto(service.url())
    expect(page.locator("#model option")).not_to_have_count(0)
    yield page
    # A test's route may still be fetching.
    page.unroute_all(behavior="ignoreErrors")
    context.close()
    assert wrong == []


def _is_foreign(url: str, service: Service) -> bool:
    return not url.startswith((service.url(), "data:", "blob:"))
