"""How much of a process's open requests one caller may be, and what is answered in a crowd."""

from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx
import pytest

from api.auth.middleware import RequestLimit
from shared.errors import Unavailable
from tests.routes.conftest import Deployment
from tests.support.app_server import listening
from tests.support.clients import until_async
from tests.support.keys import ADMIN, KEYED, bearer, calling, made

JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
LIMIT_S = 60


def few(most: int) -> dict[str, dict[str, Any]]:
    return {"api": KEYED["api"] | {"max_open": most}}


@pytest.mark.parametrize("deployment", [few(4)], indirect=True)
async def test_one_caller_s_open_streams_leave_connections_to_the_others(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    deployment.worker.beat()
    one, two = [bearer((await made(deployment.app, caller))["secret"]) for caller in ("one", "two")]
    async with (
        listening(deployment.app) as url,
        httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as http,
    ):
        job = (await http.post("/v1/jobs", json=JOB, headers=one)).json()
        async with AsyncExitStack() as streams:
            for _ in range(2):
                stream = http.stream("GET", job["urls"]["events"], headers=one)
                assert (await streams.enter_async_context(stream)).status_code == 200
            refused = await http.get("/v1/models", headers=one)
            other = await http.get("/v1/models", headers=two)

        async def left() -> bool:
            return (await http.get("/v1/models", headers=one)).status_code == 200

        await until_async(left)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "caller_queue_full")
    assert refused.headers["retry-after"] == "5"
    assert "2 requests open" in refused.json()["error"]["message"]
    assert other.status_code == 200
    assert "most requests by caller: one 2" in caplog.text


@pytest.mark.parametrize("deployment", [few(2)], indirect=True)
async def test_a_process_full_of_callers_shows_its_metrics_and_its_health(deployment: Deployment) -> None:
    deployment.worker.beat()
    secrets = [(await made(deployment.app, caller))["secret"] for caller in ("one", "two")]
    streams = {}
    for secret in secrets:
        async with calling(deployment.app, secret) as client:
            streams[secret] = (await client.post("/v1/jobs", json=JOB)).json()["urls"]["events"]
    async with (
        listening(deployment.app) as url,
        httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as http,
        AsyncExitStack() as held,
    ):
        for secret, path in streams.items():
            stream = http.stream("GET", path, headers=bearer(secret))
            assert (await held.enter_async_context(stream)).status_code == 200
        assert (await http.get("/metrics", headers=bearer(ADMIN))).status_code == 200
        assert (await http.get("/health")).status_code == 200


def test_callers_who_leave_all_they_may_open_leave_a_place_to_the_next() -> None:
    shares = RequestLimit(16)
    with ExitStack() as places:
        for caller, share in ("one", 8), ("two", 4), ("three", 2):
            for _ in range(share):
                places.enter_context(shares.place(caller))
            with pytest.raises(Unavailable, match=f"{share} requests open"):
                shares.place(caller)
        places.enter_context(shares.place("four"))


def test_a_caller_whose_requests_are_over_is_not_remembered(caplog: pytest.LogCaptureFixture) -> None:
    """A process that serves for months meets many callers."""
    shares = RequestLimit(2)
    with shares.place("one"):
        pass
    with shares.place("two"), pytest.raises(Unavailable):
        shares.place("two")
    assert caplog.messages[0].endswith("most requests by caller: two 1")


def test_without_keys_a_process_takes_no_more_requests_than_it_can_hold() -> None:
    limit = RequestLimit(2)
    with limit.place("local", shares=False), limit.place("local", shares=False):
        with pytest.raises(Unavailable, match="MAX_OPEN") as refused:
            limit.place("local", shares=False)
        assert refused.value.code == "queue_full"
    with limit.place("local", shares=False):
        pass
