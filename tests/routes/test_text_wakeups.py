"""While text follows on text, a connected reader gets it with its wake-ups: nothing is missing or read twice
where some of them are lost, and nothing comes after the job's own end.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.store.claims import Claim
from shared.store.wakeups import MOST_CHARACTERS, Listener
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange, data

JOB = {"model": "sightline/tiny", "input": {"prompt": "Tell."}}
LONG = "long " * 1000


@asynccontextmanager
async def _reading(deployment: Deployment) -> AsyncIterator[tuple[Exchange, Claim, str]]:
    """A reader who has got a word, the run's claim and the job's id."""
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
    claim = deployment.worker.take()
    reader = Exchange(deployment.app, "GET", job["urls"]["events"]).start()
    await reader.until(lambda e: b"running" in e.body)
    deployment.worker.say(claim, "One ")
    await reader.until(lambda e: b'"One "' in e.body)
    yield reader, claim, job["id"]
    await reader.finish()


def _texts(reader: Exchange) -> list[str]:
    return [event["text"] for event in data(reader.body) if "text" in event]


@pytest.mark.parametrize("second", ["lost ", LONG])
async def test_a_word_whose_wake_up_was_lost_or_brings_no_text_comes_with_the_next(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    notify = Listener.notify

    def lossy(listener: Listener, news: str) -> None:
        if "lost" not in news:
            notify(listener, news)

    monkeypatch.setattr(Listener, "notify", lossy)
    async with _reading(deployment) as (reader, claim, _):
        deployment.worker.say(claim, second, 4)
        deployment.worker.say(claim, "three", 4 + len(second))
        await reader.until(lambda e: b'"three"' in e.body)
        deployment.worker.succeed(claim, f"One {second}three")

    assert _texts(reader) == ["One ", second, "three"]


async def test_a_cancelled_job_s_reader_gets_no_word_meant_for_others(deployment: Deployment) -> None:
    async with _reading(deployment) as (reader, claim, job):
        async with client_of(deployment.app) as client:
            other = (await client.post("/v1/jobs", json=JOB)).json()
            assert (await client.post(f"/v1/jobs/{job}/cancel")).status_code == 200
        for at in range(5):
            deployment.worker.say(claim, "more", 4 + 4 * at)
        deployment.worker.succeed(claim, "One " + "more" * 5)

    assert other["cache"] == "COALESCED"
    assert _texts(reader) == ["One "]
    assert b"event: cancelled" in reader.body


def test_a_slow_reader_s_text_is_left_in_the_store_beyond_a_bound() -> None:
    listener = Listener()
    assert listener.texts() is None
    listener.notify("1-5 {}")
    assert listener.texts() == ["1-5 {}"]
    for number in range(3):
        listener.notify(f"{number}-5 {'x' * (MOST_CHARACTERS // 3)}")
    assert not listener._texts
    assert listener.texts() is None
    listener.notify("9-5 {}")
    assert listener.texts() == ["9-5 {}"]
