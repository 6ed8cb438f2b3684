"""A store that lost its last second never splices what a reader has with what came instead."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.store.claims import Claim
from tests.routes.conftest import Stage
from tests.support.app import client_of
from tests.support.clients import until_async
from tests.support.exchange import Exchange, data, posted

JOB = {"model": "sightline/tiny", "input": {"prompt": "Tell."}}
CHAT = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "Tell."}], "stream": True}
HF = {"inputs": "Tell.", "stream": True}


class PowerLoss:
    """What the store kept of a run, put back over what it had written since."""

    def __init__(self, stage: Stage, claim: Claim) -> None:
        self._client = stage.hand.store.client
        self._claim = claim
        self._run = f"sl2:{claim.id}"
        self._record = self._client.hgetall(self._run)
        self._events = self._client.xrange(f"{self._run}:events")

    def strike(self) -> None:
        self._client.delete(self._run, f"{self._run}:events")
        self._client.hset(self._run, mapping=self._record)
        for name, fields in self._events:
            self._client.xadd(f"{self._run}:events", fields, id=name)
        # As everybody is woken when the connection is there again.
        self._client.publish(f"sl2:wake:{self._claim.id}", "state")


@asynccontextmanager
async def _reading(stage: Stage, path: str, body: dict[str, Any] | None) -> AsyncIterator[Exchange]:
    """A reader connected from the start; without a body, of a job's events."""
    stage.hand.beat()
    if body is not None:
        reader = posted(stage.app, body, path)
    else:
        async with client_of(stage.app) as client:
            job = (await client.post(path, json=JOB)).json()
        reader = Exchange(stage.app, "GET", job["urls"]["events"]).start()
    async with client_of(stage.app) as client:

        async def queued() -> bool:
            return bool((await client.get("/v1/jobs")).json()["data"])

        await until_async(queued)
    yield reader
    await reader.finish()


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/jobs", None), ("/v1/chat/completions", CHAT), ("/models/sightline/tiny", HF)]
)
@pytest.mark.parametrize("pieces", [("sat on the ", "old ", "mat."), ("lay ", "in ", "its ", "bed.")])
async def test_a_connected_reader_of_text_the_store_forgot_is_told_so(
    stage: Stage, path: str, body: dict[str, Any] | None, pieces: tuple[str, ...]
) -> None:
    async with _reading(stage, path, body) as reader:
        claim = stage.hand.take()
        stage.hand.say(claim, "The cat ")
        kept = PowerLoss(stage, claim)
        stage.hand.say(claim, "sat ", 8)
        stage.hand.say(claim, "on ", 12)
        await reader.until(lambda e: b'"on "' in e.body)
        kept.strike()
        at = 8
        for piece in pieces:
            stage.hand.say(claim, piece, at)
            at += len(piece)
        stage.hand.succeed(claim, "The cat " + "".join(pieces))

    assert data(reader.body)[-1]["error"]["code"] == "stream_rewound"
    assert not any(f'"{piece}"'.encode() in reader.body for piece in pieces[1:])


async def test_a_reader_is_told_before_the_stream_has_grown_again(stage: Stage) -> None:
    async with _reading(stage, "/v1/jobs", None) as reader:
        claim = stage.hand.take()
        kept = PowerLoss(stage, claim)
        stage.hand.say(claim, "The cat ")
        await reader.until(lambda e: b"The cat" in e.body)
        kept.strike()

    assert data(reader.body)[-1]["error"]["code"] == "stream_rewound"


async def test_a_reader_who_comes_back_knowing_more_than_the_store_is_told_so(stage: Stage) -> None:
    async with client_of(stage.app) as client:
        job = (await client.post("/v1/jobs", json=JOB)).json()
        response = await client.get(job["urls"]["events"], headers={"last-event-id": "2"})

    assert (response.status_code, response.json()["code"]) == (410, "stream_rewound")
