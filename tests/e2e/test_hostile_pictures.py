"""Small pictures that want gigabytes are answered in bounded memory."""

import base64
from concurrent.futures import ThreadPoolExecutor

import psutil

from tests.e2e.conftest import TINY
from tests.support.clients import Api
from tests.support.pictures import picture
from tests.support.service import Service

SQUARED = 40_000, 800
"""Padded to a square, these few kilobytes are 4.8 GB."""
LONGEST = 8000, 160
"""The longest that is let in: 192 MB as a square."""


def test_pictures_that_explode_are_answered_in_bounded_memory(service: Service, api: Api) -> None:
    model = psutil.Process(service.processes[TINY].pid)
    sizes = [LONGEST, LONGEST[::-1], (7800, 5000), SQUARED]
    images = [base64.b64encode(picture("PNG", size, "1")).decode() for size in sizes]
    before = model.memory_info().rss
    with ThreadPoolExecutor(4) as threads:
        replies = list(
            threads.map(
                lambda image: api.post(f"/models/{TINY}", json={"inputs": {"image": image, "text": "q"}}),
                images,
            )
        )
    assert [reply.status_code for reply in replies] == [200] * 4, [reply.text for reply in replies]
    assert model.memory_info().rss - before < 1000 * 2**20
