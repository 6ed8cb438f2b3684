"""Whatever address a stranger names, nothing inside is ever connected to, and every answer comes in time."""

import pytest

from tests.safety import test_bodies as bodies
from tests.safety.answers import Stranger
from tests.safety.conftest import ECHO, World
from tests.safety.internet import PUBLIC_V4
from tests.safety.resolver import named
from tests.safety.urls import FAILED, FETCHED, GOOD, PRIVATE_V4, PRIVATE_V6, SPELLED, Url, found
from tests.support.clients import until
from tests.support.pictures import answering

AT_ONCE = 16
HOOK = "hook"
CALLS = 2
"""Of a webhook before it is given up, as the service of these tests is set."""
SECRET = "whsec_" + "A" * 44


def asked(stranger: Stranger, url: Url, question: str) -> str:
    body = {"inputs": {"image": url.url, "text": question}, "options": {"use_cache": False}}
    answer = stranger.ask("POST", f"/models/{ECHO}", json=body)
    if answer.code == GOOD:
        assert "[64x48]" in answer.text
    return answer.code


def patiently(stranger: Stranger, url: Url, question: str) -> str:
    """Once more where it only failed: on a machine that stands still 5 s are soon over, for the best origin."""
    code = asked(stranger, url, question)
    return asked(stranger, url, question) if code == FAILED and code not in url.codes else code


def wrong(stranger: Stranger, url: Url) -> str | None:
    """What was answered that should not have been."""
    for time in range(url.times):
        code = patiently(stranger, url, f"{url.name} {time}")
        if code not in url.codes:
            return f"{url.name}: {code or 'the picture'}"
    return None


def all_wrong(stranger: Stranger, urls: tuple[Url, ...]) -> list[str]:
    return bodies.all_wrong(lambda url: wrong(stranger, url), urls, AT_ONCE)


def test_an_address_that_condemns_itself_is_refused_at_the_door(stranger: Stranger) -> None:
    assert len(SPELLED) >= 100
    assert all_wrong(stranger, SPELLED) == []


def test_no_origin_and_no_name_leads_inside(world: World, stranger: Stranger) -> None:
    if world.internet is None:
        pytest.skip(world.why)
    assert len(FETCHED) >= 100
    world.internet.serves.update(
        {url.url.rpartition("/")[2]: url.serve for url in FETCHED if url.serve is not None}
    )
    failed = all_wrong(stranger, FETCHED)
    assert world.internet.reached == []
    assert failed == []


def test_no_webhook_s_address_is_one_inside(stranger: Stranger) -> None:
    def look(url: Url) -> str | None:
        webhook = {"url": url.url, "secret": SECRET}
        answer = stranger.ask(
            "POST", "/v1/jobs", json={"model": ECHO, "input": {"prompt": "hello"}, "webhook": webhook}
        )
        return None if answer.code == "invalid_webhook_url" else f"{url.name}: {answer.text[:200]}"

    assert bodies.all_wrong(look, SPELLED, AT_ONCE) == []


def hooks() -> list[str]:
    """Names that lead inside when the webhook is called, or when it is called again."""
    inside = [named(ip, tag="hook") for ip in (*PRIVATE_V4[2:6], *PRIVATE_V6[:6], "169.254.169.254")]
    inside += [named(PUBLIC_V4, ip, word="all", tag="hook") for ip in ("10.0.0.1", "::1")]
    return inside + [
        named(PUBLIC_V4, ip, word="first", tag="hook") for ip in ("127.0.0.1", "169.254.169.254")
    ]


def test_no_webhook_s_name_leads_inside(world: World, stranger: Stranger) -> None:
    if world.internet is None:
        pytest.skip(world.why)
    world.internet.serves[HOOK] = answering(b"HTTP/1.1 500 Again\r\nContent-Length: 0\r\n\r\n")
    world.internet.serves["away"] = found("http://127.0.0.1/", 307)
    urls = [f"http://{host}/{HOOK}" for host in hooks()] + [f"http://{named(PUBLIC_V4)}/away"]
    jobs = [
        stranger.post(
            "/v1/jobs",
            json={"model": ECHO, "input": {"prompt": url}, "webhook": {"url": url, "secret": SECRET}},
        ).json()["id"]
        for url in urls
    ]

    def called(job: str) -> bool:
        tried = stranger.get(f"/v1/jobs/{job}").json()["webhook"]["deliveries"]
        return len(tried) >= CALLS and all(one["error"] for one in tried)

    for job in jobs:
        until(lambda job=job: called(job))  # type: ignore[misc]
    assert world.internet.reached == []
