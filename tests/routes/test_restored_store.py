"""A store that lost its last second never splices what a reader has with what came instead, and tells
who waits for what it lost to ask again.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import pytest

from api.jobs.waiting import EventReader
from shared.errors import ServiceError
from shared.job import JobView, Status
from shared.store.claims import Claim
from shared.store.script import AsyncStore, ScriptCall
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange, data, posted
from tests.support.clients import until_async
from tests.support.responses import PATH, begun
from tests.support.stored import change

JOB = {"model": "sightline/tiny", "input": {"prompt": "Tell."}}
CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "Tell."}], "stream": True}
HF = {"inputs": "Tell.", "stream": True}

T = TypeVar("T")


class PowerLoss:
    """What the store kept of a run, put back over what it had written since, as by a server started anew."""

    def __init__(self, deployment: Deployment, claim: Claim) -> None:
        self._client = deployment.worker.store.client
        self._claim = claim
        self._run = f"sl9:{claim.id}"
        self._record = self._client.hgetall(self._run)
        self._events = self._client.xrange(f"{self._run}:events")

    def strike(self) -> None:
        self._client.delete(self._run, f"{self._run}:events")
        self._client.hset(self._run, mapping=self._record)
        change(self._client, self._claim.id, server="before")
        for name, fields in self._events:
            self._client.xadd(f"{self._run}:events", fields, id=name)
        # As everybody is woken when the connection is there again.
        self._client.publish(f"sl9:wake:{self._claim.id}", "state")


@asynccontextmanager
async def _reading(deployment: Deployment, path: str, body: dict[str, Any] | None) -> AsyncIterator[Exchange]:
    """A reader connected from the start; without a body, of a job's events."""
    deployment.worker.beat()
    if body is not None:
        reader = posted(deployment.app, body, path)
    else:
        async with client_of(deployment.app) as client:
            job = (await client.post(path, json=JOB)).json()
        reader = Exchange(deployment.app, "GET", job["urls"]["events"]).start()
    await deployment.worker.waiting()
    yield reader
    await reader.finish()


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/jobs", None), ("/v1/chat/completions", CHAT), ("/models/sightline/tiny", HF)]
)
async def test_a_connected_reader_of_text_the_store_forgot_is_told_so(
    deployment: Deployment, path: str, body: dict[str, Any] | None
) -> None:
    pieces = ("lay ", "in ", "its ", "bed.")
    async with _reading(deployment, path, body) as reader:
        claim = deployment.worker.take()
        deployment.worker.say(claim, "The cat ")
        kept = PowerLoss(deployment, claim)
        deployment.worker.say(claim, "sat ", 8)
        deployment.worker.say(claim, "on ", 12)
        await reader.until(lambda e: b'"on "' in e.body)
        kept.strike()
        at = 8
        for piece in pieces:
            deployment.worker.say(claim, piece, at)
            at += len(piece)
        deployment.worker.succeed(claim, "The cat " + "".join(pieces))

    assert data(reader.body)[-1]["error"]["code"] == "stream_rewound"
    assert not any(f'"{piece}"'.encode() in reader.body for piece in pieces[1:])


async def test_a_reader_is_told_before_the_stream_has_grown_again(deployment: Deployment) -> None:
    async with _reading(deployment, "/v1/jobs", None) as reader:
        claim = deployment.worker.take()
        kept = PowerLoss(deployment, claim)
        deployment.worker.say(claim, "The cat ")
        await reader.until(lambda e: b"The cat" in e.body)
        kept.strike()

    assert data(reader.body)[-1]["error"]["code"] == "stream_rewound"


def _said_anew(deployment: Deployment) -> None:
    """A run whose texts 2 and 3 the store forgot, and which another attempt ends in other words."""
    claim = deployment.worker.take()
    deployment.worker.say(claim, "The cat ")
    kept = PowerLoss(deployment, claim)
    deployment.worker.say(claim, "sat ", 8)
    deployment.worker.say(claim, "on ", 12)
    kept.strike()
    deployment.worker.give_back(claim, "worker_lost")
    again = deployment.worker.take()
    for start, text in ((8, "lay "), (12, "in "), (15, "bed.")):
        deployment.worker.say(again, text, start)
    deployment.worker.succeed(again, "The cat lay in bed.")


async def test_a_reader_who_comes_back_to_other_words_is_told_so(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
        _said_anew(deployment)
        behind = [
            await client.get(job["urls"]["events"], headers={"last-event-id": str(seen)})
            for seen in (3, 4, 5)
        ]

    known, *lost = behind
    assert [event.get("text") for event in data(known.content)][2:5] == ["lay ", "in ", "bed."]
    assert [(r.status_code, r.json()["code"]) for r in lost] == [(410, "stream_rewound")] * 2


async def test_a_reader_who_comes_back_to_another_response_is_told_so(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        response = await begun(deployment.worker, client)
        _said_anew(deployment)
        url = f"{PATH}/{response}?stream=true&starting_after="
        behind = [await client.get(f"{url}{seen}") for seen in (5, 6, 7)]

    known, *lost = behind
    assert "".join(told.get("delta", "") for told in data(known.content)) == "lay in bed."
    assert [(r.status_code, r.json()["error"]["code"]) for r in lost] == [(410, "stream_rewound")] * 2


async def test_a_reader_of_a_response_whose_run_the_store_forgot_is_told_so(deployment: Deployment) -> None:
    part = {"type": "input_image", "image_url": "https://example.com/a.png"}
    pictured = {"role": "user", "content": [part]}
    async with client_of(deployment.app) as client:
        response = await begun(deployment.worker, client, input=[pictured])
        change(deployment.worker.store.client, response.replace("resp_", "job_"), server="before")
        deployment.worker.take_in()
        claim = deployment.worker.take()
        deployment.worker.say(claim, "A cat.")
        deployment.worker.succeed(claim, "A cat.")
        url = f"{PATH}/{response}?stream=true&starting_after="
        known, *lost = [await client.get(f"{url}{seen}") for seen in (1, 2, 5)]

    assert "".join(told.get("delta", "") for told in data(known.content)) == "A cat."
    assert [(r.status_code, r.json()["error"]["code"]) for r in lost] == [(410, "stream_rewound")] * 2


async def test_no_number_of_a_response_is_skipped_for_unread_text(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        response = await begun(deployment.worker, client)
        claim = deployment.worker.take()
        deployment.worker.say(claim, "The cat ")
        deployment.worker.say(claim, "sat ", 8)
        deployment.worker.give_back(claim, "worker_lost")
        again = deployment.worker.take(fingerprint="f" * 32)
        deployment.worker.say(again, "It lay.")
        deployment.worker.succeed(again, "It lay.")
        told = data((await client.get(f"{PATH}/{response}?stream=true")).content)

    assert "".join(event.get("delta", "") for event in told) == "It lay."
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


@asynccontextmanager
async def _waiting(
    deployment: Deployment, path: str, body: dict[str, Any] | None
) -> AsyncIterator[tuple[Exchange, str]]:
    """A caller who waits for an answer that a worker computes, and the job's id; all is over at the end."""
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        if body is None:
            job = (await client.post("/v1/jobs", json=JOB)).json()
            reader = Exchange(deployment.app, "GET", path.format(id=job["id"])).start()
        else:
            reader = posted(deployment.app, body, path)
        claim = await deployment.worker.taken()
        channel, store = f"sl9:wake:{claim.id}", deployment.worker.store.client
        await until_async(lambda: _listened(store, channel))
        yield reader, (await client.get("/v1/jobs")).json()["data"][0]["id"]
        store.publish(channel, "state")
        await reader.finish()


async def _listened(store: Any, channel: str) -> bool:
    return bool(dict(store.pubsub_numsub(channel))[channel])


WAITING = [
    ("/v1/jobs/{id}?wait=60", None),
    ("/v1/jobs/{id}/events", None),
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT | {"stream": False}),
    ("/models/sightline/tiny", {"inputs": "Tell."}),
]


@pytest.mark.parametrize(("path", "body"), WAITING)
async def test_who_waits_for_a_job_that_the_store_lost_is_told_to_ask_again(
    deployment: Deployment, path: str, body: dict[str, Any] | None
) -> None:
    async with _waiting(deployment, path, body) as (reader, _):
        deployment.worker.store.client.flushdb()

    said = reader.body.decode()
    assert "store_unavailable" in said
    assert reader.status in (200, 503)
    assert "job_not_found" not in said
    if reader.status == 503:
        assert reader.headers["retry-after"] == "1"


@pytest.mark.parametrize(("path", "body"), WAITING)
async def test_who_waits_for_a_job_that_was_deleted_is_told_so(
    deployment: Deployment, path: str, body: dict[str, Any] | None
) -> None:
    async with _waiting(deployment, path, body) as (reader, job), client_of(deployment.app) as client:
        assert (await client.delete(f"/v1/jobs/{job}")).status_code == 204

    assert "job_not_found" in reader.body.decode()


class Empty:
    """A store that has nothing."""

    async def run(self, call: ScriptCall[T]) -> T:
        return call.parse(None)


@pytest.mark.parametrize(
    ("status", "code"), [("succeeded", "job_not_found"), ("running", "store_unavailable")]
)
async def test_who_reads_a_job_whose_time_is_over_is_not_told_to_ask_again(status: Status, code: str) -> None:
    view = JobView("job_1", "anyone", "sightline/tiny", status, 0)
    with pytest.raises(ServiceError) as told:
        await EventReader(cast(AsyncStore, Empty()), view, 0).more(None)
    assert told.value.code == code
