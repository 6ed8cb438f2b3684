"""Web pages in a browser: which may call, which may read the answer, and what nobody may keep of it."""

from typing import Any

import httpx
import pytest

from api.server.middleware import HEAD_LIMIT
from tests.routes.conftest import Deployment
from tests.support.app import application, client_of, serving
from tests.support.fake_service import FakeService
from tests.support.keys import ADMIN, KEYED, bearer, code_of

JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
APP = "https://app.example.com"
OWN_HOSTS = ["127.0.0.1", "localhost:8000", "LOCALHOST", "localhost.", "[::1]:8000", "127.9.9.9"]
OTHER_HOSTS = [
    *("evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.7"),
    *("0.0.0.0:8000", "[::ffff:10.0.0.7]", "", "127.0.0.1@evil.example"),
    *("[::1].evil.example", "127.0.0.1:evil.example", "evil.example"),
]
OTHER_PAGES = [APP, "null", "http://127.0.0.1:3000", "https://127.0.0.1", "chrome-extension://abc"]


async def ask(client: httpx.AsyncClient, **headers: str) -> list[httpx.Response]:
    """One call of each family, under these headers."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return [
        await client.post("/v1/jobs", json=JOB, headers=said),
        await client.get("/v1/models", headers=said),
        await client.get("/models/sightline/tiny", headers=said),
    ]


async def test_without_keys_a_name_that_was_pointed_at_this_machine_is_refused() -> None:
    async with serving(FakeService()) as client:
        for host in OTHER_HOSTS:
            replies = await ask(client, host=host)
            assert [(r.status_code, code_of(r)) for r in replies] == [(403, "foreign_host")] * 3, host


async def test_without_keys_this_machine_s_own_names_are_answered() -> None:
    async with serving(FakeService()) as client:
        for host in OWN_HOSTS:
            assert [r.status_code for r in await ask(client, host=host)] == [202, 200, 200], host


async def test_without_keys_another_page_in_this_machine_s_browser_is_refused() -> None:
    async with serving(FakeService()) as client:
        for origin in OTHER_PAGES:
            replies = await ask(client, origin=origin)
            assert [(r.status_code, code_of(r)) for r in replies] == [(403, "foreign_origin")] * 3, origin
        for site in ("cross-site", "same-site"):
            replies = await ask(client, sec_fetch_site=site, sec_fetch_mode="no-cors")
            assert [code_of(r) for r in replies] == ["foreign_origin"] * 3


async def test_without_keys_a_page_of_this_service_and_a_person_s_own_click_are_answered() -> None:
    async with serving(FakeService()) as client:
        own = await ask(client, origin="http://127.0.0.1", sec_fetch_site="same-origin")
        typed = await client.get("/v1/models", headers={"sec-fetch-site": "none"})
        navigating = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        clicked = await client.get("/v1/models", headers=navigating)
        form = await client.post("/v1/jobs", json=JOB, headers=navigating | {"origin": APP})
    assert [r.status_code for r in [*own, typed, clicked]] == [202, 200, 200, 200, 200]
    assert code_of(form) == "foreign_origin", "a page's form submits no job by navigating"


async def test_an_open_service_answers_every_name_and_its_own_page_behind_any_proxy() -> None:
    async with serving(FakeService(), open=True) as client:
        named = await ask(client, host="example.com", origin="http://example.com")
        proxied = await ask(client, host="inner:8000", origin=APP, sec_fetch_site="same-origin")
        program = await ask(client, host="example.com")
    assert [r.status_code for r in (*named, *proxied, *program)] == 3 * [202, 200, 200]


async def test_another_page_does_not_operate_an_open_service_through_who_looks_at_it() -> None:
    headers: tuple[dict[str, str], ...] = ({}, {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"})
    async with serving(FakeService(), open=True) as client:
        for known in headers:
            for origin in (APP, "null"):
                replies = await ask(client, host="example.com", origin=origin, **known)
                assert [code_of(r) for r in replies] == ["foreign_origin"] * 3, (origin, known)
    for origins in (APP, "*"):
        async with serving(FakeService(), open=True, cors_origins=origins) as client:
            replies = await ask(client, host="example.com", origin=APP)
        assert [r.status_code for r in replies] == [202, 200, 200]


async def test_without_the_setting_no_page_is_told_that_it_may_read() -> None:
    for settings in ({}, {"open": True}, {"admin_key": ADMIN}):
        async with serving(FakeService(), **settings) as client:
            replies = [*await ask(client, origin=APP), await client.get("/health", headers={"origin": APP})]
        names = {name for reply in replies for name in reply.headers}
        assert not [name for name in names if name.startswith("access-control") or name == "vary"]


async def test_a_page_that_the_setting_names_may_call_and_read_errors_too() -> None:
    service = FakeService()
    async with serving(service, cors_origins=APP) as client:
        replies = await ask(client, origin=APP)
        replies.append(await client.get("/health", headers={"origin": APP, "x-long": "x" * HEAD_LIMIT}))
        replies.append(await client.get("/nothing/here", headers={"origin": APP}))
        other = await client.get("/v1/models", headers={"origin": "https://app.example.org"})
        service.refusal = RuntimeError("a fault of the server's own")
        replies.append(await client.post("/v1/jobs", json=JOB, headers={"origin": APP}))
    assert [r.status_code for r in replies] == [202, 200, 200, 431, 404, 500]
    for reply in replies:
        assert reply.headers["access-control-allow-origin"] == APP
        assert reply.headers["access-control-expose-headers"] == "*"
        assert reply.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in reply.headers
    assert code_of(other) == "foreign_origin"
    assert "access-control-allow-origin" not in other.headers


async def preflight(client: httpx.AsyncClient, origin: str) -> httpx.Response:
    """What a browser asks before a call with a key, to which it adds none."""
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,prefer",
        # Of a public page whose service lies in a private network.
        "access-control-request-private-network": "true",
    }
    return await client.options("/v1/jobs", headers={"origin": origin, **asked})


@pytest.mark.parametrize("keys", [{}, {"admin_key": ADMIN}])
async def test_a_browser_that_asks_first_is_answered_without_a_key(keys: dict[str, Any]) -> None:
    async with serving(FakeService(), cors_origins=f"{APP}, http://localhost:3000", **keys) as client:
        good, bad = await preflight(client, APP), await preflight(client, "https://evil.example")
        no_preflight = await client.options("/v1/jobs", headers={"origin": APP})
    assert good.status_code == 200
    assert good.headers["access-control-allow-origin"] == APP
    methods = good.headers["access-control-allow-methods"].split(", ")
    assert sorted(methods) == ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"]
    assert good.headers["access-control-allow-headers"] == "authorization,prefer"
    assert good.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-credentials" not in good.headers
    assert good.headers["access-control-max-age"] == "600", "not each call costs a question first"
    assert bad.status_code == 400
    assert "access-control-allow-origin" not in bad.headers
    assert no_preflight.status_code in (401, 405)


@pytest.mark.parametrize("deployment", [{"api": {**KEYED["api"], "cors_origins": "*"}}], indirect=True)
async def test_with_keys_every_page_may_be_let_in_and_still_needs_a_key(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        asked = await preflight(client, "https://any.example")
        without = await client.get("/v1/jobs", headers={"origin": "null"})
        with_key = await client.get("/v1/jobs", headers={"origin": "null", **bearer(ADMIN)})
    assert asked.headers["access-control-allow-origin"] == "*"
    assert [r.headers["access-control-allow-origin"] for r in (without, with_key)] == ["*", "*"]
    assert (without.status_code, with_key.status_code) == (401, 200)


async def test_no_answer_is_kept_guessed_or_framed_and_no_stream_held_to_be_compressed() -> None:
    service = FakeService()
    service.script = lambda job: service.succeed(job, "A cat.")
    chat = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What?"}]}
    async with application(service, admin_key=ADMIN) as app, client_of(app) as client:
        client.headers.update(bearer(ADMIN))
        replies = [
            await client.post("/v1/chat/completions", json=chat),
            streamed := await client.post("/v1/chat/completions", json=chat | {"stream": True}),
            await client.post("/v1/jobs", json=JOB),
            await client.get("/v1/nothing"),
            await client.get("/openapi.json"),
            await client.get("/health", headers={"authorization": ""}),
            await client.get("/v1/models", headers={"authorization": ""}),
        ]
    for reply in replies:
        assert reply.headers["x-content-type-options"] == "nosniff"
        kept = "no-store, no-transform" if reply is streamed else "no-store"
        assert reply.headers.get_list("cache-control") == [kept]
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert "strict-transport-security" not in reply.headers


@pytest.mark.parametrize(
    ("taken", "coding"),
    [("br;q=1, GZIP;q=0.5", "gzip"), ("gzip ; q=0.000, *", None), ("identity", None)],
)
async def test_the_page_is_compressed_for_those_who_take_it_so(taken: str, coding: str | None) -> None:
    async with serving(FakeService()) as client:
        reply = await client.get("/page/main.js", headers={"accept-encoding": taken})
    assert (reply.headers.get("content-encoding"), reply.headers["vary"]) == (coding, "accept-encoding")
    assert "import * as composer" in reply.text
