"""The board over a busy service, drawn from what a real Prometheus answers; the alerts are answered as well.

Needs prometheus (Debian: `apt install prometheus`); SIGHTLINE_PICTURES=1 writes the picture of the docs anew.
"""

import json
import os
import re
import socket
import time
from collections.abc import Sequence
from html import unescape
from pathlib import Path

import httpx
import pytest

from docs.generate.board import draw
from docs.generate.charts import Series
from tests.e2e.conftest import SLOW
from tests.support.busy_service import elsewhere, line_up, one_round
from tests.support.clients import Api
from tests.support.metrics import BOARD, filled, panels, shown
from tests.support.prometheus import asked, course, needs_prometheus, prometheus, scraped
from tests.support.service import ROOT, Service

PICTURE = ROOT / "docs/images/board.svg"
DRAWING = bool(os.environ.get("SIGHTLINE_PICTURES"))
ROUNDS = 8 if DRAWING else 1
MOMENTS = 120
"""At most, from the left edge to the right."""
WINDOW = "10s"
"""What Grafana would take for $__rate_interval, as often as is scraped here."""
SEEN = (
    # First: the line does not last, what was counted does.
    f'sum(sightline_queue_depth{{model="{SLOW}"}}) > 3',
    "sum(increase(sightline_refusals_total[5m])) > 0",
    'sum(increase(sightline_maintenance_total{pass="rescued"}[5m])) > 0',
)
"""What comes last to Prometheus."""
WELL = {"Broken"}
"""Panels that show 0 where nothing is wrong."""
TITLE = re.compile(r'<text class="(?:title|row)"[^>]*>(.*?)</text>')
BOARD_PANELS = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
TITLES = [panel["title"] for panel in BOARD_PANELS]


def titles(picture: str) -> list[str]:
    return [unescape(title) for title in TITLE.findall(picture)]


def moments_since(began: float) -> list[float]:
    """Whole seconds, equally far apart, up to the first that has all Prometheus knows by now."""
    last = int(time.time()) + 1
    step = max(1, (last - int(began)) // MOMENTS)
    return [float(at) for at in range(last - (last - int(began)) // step * step, last + 1, step)]


def answers(client: httpx.Client, moments: Sequence[float]) -> dict[int, list[Series]]:
    """Of each panel, by its id."""
    return {
        panel["id"]: [
            one
            for target in panel["targets"]
            for one in course(client, filled(target["expr"], WINDOW), target["legendFormat"], moments)
        ]
        for panel in panels()
    }


@needs_prometheus
@pytest.mark.timeout(60 + 60 * ROUNDS)
def test_every_panel_shows_something_of_a_busy_service(service: Service, api: Api, tmp_path: Path) -> None:
    with prometheus(tmp_path, service.url(), every_s=1) as client, elsewhere() as (there, remote):
        scraped(client, "sightline_store_up > 0")
        began = time.time()
        for number in range(ROUNDS):
            one_round(service, api, there, remote, number)
        left = line_up(api, "the last", 9)
        for counted in SEEN:
            scraped(client, counted)
        groups = client.get("/rules").json()["data"]["groups"]
        for expression in shown():
            asked(client, expression)
        moments = moments_since(began)
        courses = answers(client, moments)
    for job in left:
        api.post(f"/v1/jobs/{job}/cancel")

    assert [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"] == []
    assert [panel["title"] for panel in panels() if not any(one.values for one in courses[panel["id"]])] == []
    still = {panel["title"] for panel in panels() if not any(one.tells for one in courses[panel["id"]])}
    assert still <= WELL
    # The name of the machine that draws is nobody's business.
    drawn = draw(BOARD_PANELS, courses, moments).replace(f">{socket.gethostname()} ", ">host ")
    assert titles(drawn) == TITLES
    assert not re.search(r"\b(?:nan|inf)\b", drawn)
    if DRAWING:
        PICTURE.write_text(drawn, encoding="utf-8")


def test_the_picture_in_the_pages_shows_the_panels_of_the_board_as_it_is_today() -> None:
    assert titles(PICTURE.read_text(encoding="utf-8")) == TITLES
