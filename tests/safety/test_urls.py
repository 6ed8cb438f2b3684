"""Whatever address a stranger names, nothing inside is ever connected to, and every answer comes in time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.safety.answers import Stranger
from tests.safety.conftest import ECHO, World
from tests.safety.urls import FETCHED, GOOD, SPELLED, Url

AT_ONCE = 16


def asked(stranger: Stranger, url: Url, question: str) -> str:
    body = {"inputs": {"image": url.url, "text": question}, "options": {"use_cache": False}}
    answer = stranger.ask("POST", f"/models/{ECHO}", json=body)
    if answer.code == GOOD:
        assert "[64x48]" in answer.text
    return answer.code


def wrong(stranger: Stranger, url: Url) -> str | None:
    """What was answered that should not have been."""
    for time in range(url.times):
        try:
            code = asked(stranger, url, f"{url.name} {time}")
        except Exception as error:
            return f"{url.name}: {error!r}"
        if code not in url.codes:
            return f"{url.name}: {code or 'the picture'}"
    return None


def all_wrong(stranger: Stranger, urls: tuple[Url, ...]) -> list[str]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return [found for found in threads.map(lambda url: wrong(stranger, url), urls) if found]


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
