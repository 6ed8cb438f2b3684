"""The rows of docs/reference/behaviour.toml, walked call by call: a caller gets what the page promises."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from shared.errors import CODES
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.batch_situations import BATCHES
from tests.support.behaviour import Row, rows
from tests.support.behaviour_situation import ANSWER, Situation
from tests.support.key_situations import IDEMPOTENCY
from tests.support.keys import KEYED
from tests.support.redis_server import RedisServer
from tests.support.response_situations import RESPONSES
from tests.support.situations import WHEN as WHEN_ASKED
from tests.support.situations import no_worker, ready

ROWS = rows()
STORES = {
    "the store is out of reach": no_worker,
    "the store takes no writes": ready,
    "the store is nearly full": ready,
}
"""What else there is; `_reach` does it to the server."""
WHEN = WHEN_ASKED | IDEMPOTENCY | RESPONSES | BATCHES | STORES
SETTINGS = {
    "nothing begins within the limit": {"api": {"sync_limit_s": 0.05}},
    "the caller's own line is full": {"queue": {"max_queued_caller": 1}},
    "keys are asked for": KEYED,
    "the job is another caller's": KEYED,
    "the file is another caller's": KEYED,
    "the webhook is another caller's": KEYED,
    "the key's requests are used up": KEYED,
}
SAMPLE = Path(__file__).parents[2] / "examples" / "sample.png"


@pytest.mark.parametrize(
    ("row", "deployment"),
    [pytest.param(row, SETTINGS.get(row.when, {}), id=str(row)) for row in ROWS],
    indirect=["deployment"],
)
async def test_a_call_is_answered_as_the_page_says(row: Row, deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        situation = Situation(client, deployment.worker, row, SAMPLE.read_bytes())
        try:
            await WHEN[row.when](situation)
            with _reach(deployment.server, row):
                response = await situation.send()
        finally:
            await situation.end()

    assert response.status_code == row.status, response.text
    _body_is(row, response, situation.known)
    for name, value in row.headers:
        assert name in response.headers, response.headers
        assert value in (None, response.headers[name])
    if "retry-after" in response.headers:
        assert 1 <= int(response.headers["retry-after"]) <= 60


async def test_every_route_stands_in_the_tables(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        described = (await client.get("/openapi.json")).json()["paths"]
    routes = {(method.upper(), path) for path, methods in described.items() for method in methods}

    assert routes - {(row.method, row.path) for row in ROWS} == set()


def test_no_situation_is_kept_that_the_page_does_not_use() -> None:
    assert set(WHEN) == {row.when for row in ROWS}


@contextmanager
def _reach(server: RedisServer, row: Row) -> Iterator[None]:
    match row.when:
        case "the store is out of reach":
            server.kill()
            try:
                yield
            finally:
                server.start()
        case "the store takes no writes":
            with server.refusing_writes():
                yield
        case "the store is nearly full":
            with server.nearly_full():
                yield
        case _:
            yield


def _body_is(row: Row, response: httpx.Response, known: str) -> None:
    if "same job" in row.body:
        assert response.headers["x-job-id"] == known
    if row.body != "a stream":
        assert all(f'"{word}"' in response.text for word in row.more)
    match row.body:
        case "nothing":
            assert response.content == b""
        case "a stream":
            assert response.text.startswith(row.more or "")
            assert ANSWER in response.text
        case "the job" | "the same job":
            assert response.json()["object"] == "job"
            assert response.json()["status"] in (row.more or response.json()["status"])
        case "the answer" | "the answer of the same job":
            assert ANSWER in response.text
        case "a list":
            assert response.json()["object"] == "list"
            assert response.json()["data"]
        case "the file" | "the batch" | "the webhook" | "the model" | "the response" as thing:
            assert response.json()["object"] == thing.removeprefix("the ")
        case "the event":
            assert response.json()["id"].startswith("msg_")
        case "what is known":
            pass
        case code:
            assert f'"{code}"' in response.text
            assert code in CODES
