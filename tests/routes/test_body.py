"""Uploads that are too large, too slow or not plain."""

from typing import Any

import pytest

from api.server import memory_budget
from api.server.memory_budget import FREE, MemoryBudget
from tests.support.app import JSON, application, client_of
from tests.support.asgi_exchange import Exchange, posted
from tests.support.fake_service import FakeService

LIMIT = {"body_limit_mb": 0.001}
MODEL = "sightline/tiny"
LONG_QUESTION = "Why? " * (FREE // 4)
TURNS = [{"role": "user", "content": LONG_QUESTION}]


async def test_a_declared_body_over_the_cap_is_refused_before_it_is_read() -> None:
    async with application(FakeService(), **LIMIT) as app:
        exchange = Exchange(
            app, "POST", "/v1/jobs", headers={"content-length": "1049", "expect": "100-continue"}
        )
        exchange.start()
        await exchange.until(lambda e: bool(e.body))

        # The answer is on the wire while not one byte was asked for: no `100 Continue` was sent.
        assert exchange.status == 413
        exchange.hang_up()
        await exchange.finish()


@pytest.mark.parametrize(("length", "code"), [(1048, "invalid_json"), (1049, "payload_too_large")])
async def test_a_body_of_exactly_the_cap_is_read(length: int, code: str) -> None:
    async with application(FakeService(), **LIMIT) as app, client_of(app) as client:
        response = await client.post("/v1/jobs", content=b" " * length, headers=JSON)

        assert response.json()["code"] == code
        assert (code == "invalid_json") != ("1048 bytes (SIGHTLINE_API__BODY_LIMIT_MB" in response.text)


@pytest.mark.parametrize("length", ["9" * 5000, "000000000000000000009999"])
async def test_an_absurd_content_length_is_an_error_of_the_caller(length: str) -> None:
    async with application(FakeService(), **LIMIT) as app:
        exchange = Exchange(app, "POST", "/v1/jobs", headers={"content-length": length}).start()
        exchange.hang_up()
        await exchange.finish()

        assert exchange.status == 413


async def test_a_body_that_never_arrives_ends_with_its_deadline() -> None:
    async with application(FakeService(), upload_limit_s=0.01) as app:
        exchange = Exchange(app, "POST", "/v1/chat/completions").start()
        await exchange.until(lambda e: bool(e.body))
        exchange.hang_up()
        await exchange.finish()

        assert (exchange.status, exchange.headers["retry-after"]) == (408, "1")
        # A sender of one byte at a time would keep it.
        assert exchange.headers["connection"] == "close"


@pytest.mark.parametrize(
    "said", [{"content-encoding": "identity"}, {"transfer-encoding": "Chunked"}, {"content-encoding": ""}]
)
async def test_what_says_no_coding_is_read_as_it_is(said: dict[str, str]) -> None:
    async with application(FakeService()) as app, client_of(app) as client:
        response = await client.post("/v1/jobs", content=b"[", headers={**JSON, **said})

        assert response.json()["code"] == "invalid_json"


async def test_a_client_that_leaves_while_uploading_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with application(FakeService()) as app:
        exchange = Exchange(app, "POST", "/v1/jobs").start()
        exchange.hang_up()
        await exchange.finish()

        assert (exchange.status, caplog.records) == (0, [])


@pytest.mark.parametrize(("length", "status"), [(2**16, 200), (2**16 + 1, 431)])
async def test_a_head_of_exactly_the_limit_is_answered(length: int, status: int) -> None:
    headers = {"host": "127.0.0.1", "x-filler": ""}
    rest = length - len("/v1/models") - sum(map(len, [*headers, *headers.values()]))
    async with application(FakeService()) as app:
        exchange = Exchange(app, "GET", "/v1/models", headers=headers | {"x-filler": "x" * rest}).start()
        await exchange.finish()

    assert exchange.status == status


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/v1/chat/completions", {"model": MODEL, "messages": TURNS}),
        ("/v1/chat/completions", {"model": MODEL, "messages": TURNS, "stream": True}),
        ("/v1/responses", {"model": MODEL, "input": LONG_QUESTION}),
        ("/v1/responses", {"model": MODEL, "input": LONG_QUESTION, "stream": True}),
        (f"/models/{MODEL}", {"inputs": LONG_QUESTION}),
        (f"/models/{MODEL}", {"inputs": LONG_QUESTION, "stream": True}),
        ("/v1/jobs", {"model": MODEL, "input": {"prompt": LONG_QUESTION}}),
    ],
)
async def test_a_large_call_that_awaits_its_answer_takes_no_room_from_the_next(
    path: str, call: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for one body at a time, and who finds none is refused at once."""
    monkeypatch.setattr("api.server.middleware.MemoryBudget", lambda: MemoryBudget(FREE))
    monkeypatch.setattr(memory_budget, "WAIT_LIMIT_S", 0)
    service = FakeService()
    async with application(service) as app:
        first = posted(app, call, path, prefer="wait=60")
        await service.submitted.wait()
        service.script = service.succeed
        second = posted(app, call, path, prefer="wait=60")
        await second.finish()
        [waiting, *_] = service.views
        service.succeed(waiting)
        await first.finish()

    assert (first.status, second.status) == (200, 200)
