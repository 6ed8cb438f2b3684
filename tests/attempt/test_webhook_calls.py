"""One call of a webhook: whatever its receiver does, it ends in time and goes nowhere it should not."""

from dataclasses import replace
from ipaddress import ip_address
from threading import Event

import pytest

from shared.settings import FetchSettings, Settings, WebhookSettings
from shared.store.webhooks import DueCall
from shared.url_guard import IPAddress
from shared.webhooks import Notice
from tests.support.patience import PATIENCE_S
from tests.support.pictures import Serve, answering, dripping, origin
from tests.support.receiver import receiver
from tests.support.views import succeeded
from worker.fetching.guarded_http import LONGEST_DELAY_S
from worker.webhooks.post import Outcome, post

SECRET = "a secret of sixteen bytes"
LOOPBACK = FetchSettings(allow=("127.0.0.1",))
SETTINGS = Settings(fetch=LOOPBACK, webhook=WebhookSettings(limit_s=PATIENCE_S))


def due_delivery(url: str, secret: str = SECRET) -> DueCall:
    notice = Notice("msg_1_ended", "job.succeeded", 1_700_000_000_750, "job_1", job=succeeded())
    return DueCall("job_1", "ended", "t", url, (secret,) if secret else (), 0, notice, "anyone")


def called(url: str, settings: Settings = SETTINGS) -> Outcome:
    return post(due_delivery(url), "{}", settings, Event())


def within(limit_s: float) -> Settings:
    return Settings(fetch=LOOPBACK, webhook=WebhookSettings(limit_s=limit_s))


BAD: dict[str, tuple[Serve, str]] = {
    "silence": (dripping(b"", b"", 0.05), "longer than 0.4 s"),
    "no HTTP": (answering(b"SSH-2.0-secret\r\n"), "HTTP protocol"),
    "hangs up": (answering(b""), "HTTP protocol"),
    "server error": (answering(b"HTTP/1.1 500 secret\r\n\r\nsecret"), "status 500"),
    "redirect": (answering(b"HTTP/1.1 307 No\r\nLocation: http://127.0.0.1/\r\n\r\n"), "not followed"),
}


@pytest.mark.parametrize(("serve", "reason"), BAD.values(), ids=BAD.keys())
def test_whatever_a_receiver_does_is_a_failed_call_in_our_own_words(serve: Serve, reason: str) -> None:
    # What answers has all the time it needs.
    settings = within(0.4) if "longer" in reason else SETTINGS
    with origin(serve) as server:
        tried = called(server.url, settings).tried
    assert not tried.taken
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(tried.error)
    assert "secret" not in (tried.error or "").lower()


@pytest.mark.parametrize("body", [b"x" * 50_000, b"x"], ids=["long", "slow"])
def test_a_call_that_was_taken_waits_for_no_body(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.webhooks.post.DRAIN_S", 0.1)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n"
    with origin(dripping(head, body, 0.02)) as server:
        tried = called(server.url).tried
    assert tried.taken
    assert tried.took_ms < PATIENCE_S * 1000 / 2


@pytest.mark.parametrize("addresses", [("10.0.0.1",), ("1.1.1.1", "127.0.0.1"), ("169.254.169.254",)])
def test_a_name_that_now_stands_for_a_private_address_is_not_called(addresses: tuple[str, ...]) -> None:
    def resolver(_host: str, _port: int) -> list[IPAddress]:
        return [ip_address(a) for a in addresses]

    tried = post(due_delivery("http://example.com/"), "{}", Settings(), Event(), resolver).tried
    assert tried.status is None
    assert "not public" in (tried.error or "")
    assert not any(a in (tried.error or "") for a in addresses)


def test_an_address_that_is_no_longer_allowed_is_not_called() -> None:
    with receiver() as there:
        assert "not public" in (called(there.url, Settings()).tried.error or "")
        assert there.calls == []


def test_a_call_says_which_try_of_its_delivery_it_was() -> None:
    with receiver((500, {})) as there:
        assert post(replace(due_delivery(there.url), tries=2), "{}", SETTINGS, Event()).tried.attempt == 3


def test_a_service_that_has_lost_its_secret_sends_nothing_unsigned() -> None:
    with receiver() as there:
        assert "secret" in (post(due_delivery(there.url, ""), "{}", SETTINGS, Event()).tried.error or "")
        assert there.calls == []


@pytest.mark.parametrize(
    "said", ["Mon, 01 Jan 99999999999999 00:00:00 GMT", "Mon, 01 Jan 2098 00:00:00 +" + "9" * 20]
)
def test_a_receiver_s_impossible_date_costs_it_a_try_and_not_the_call(said: str) -> None:
    with receiver((503, {"Retry-After": said})) as there:
        outcome = called(there.url)
    assert (outcome.tried.status, outcome.retry_after_s) == (503, 0)


@pytest.mark.parametrize("said", ["999999999", "9" * 40, "Wed, 01 Jan 2098 00:00:00 GMT"])
def test_a_receiver_that_asks_for_years_is_called_again_within_a_day(said: str) -> None:
    with receiver((503, {"Retry-After": said})) as there:
        assert called(there.url).retry_after_s == LONGEST_DELAY_S == 86_400


def test_a_call_says_which_request_it_all_began_with_where_that_is_known() -> None:
    with receiver() as there:
        asked = due_delivery(there.url)
        post(asked, "{}", SETTINGS, Event())
        post(replace(asked, notice=replace(asked.notice, request_id="req_1")), "{}", SETTINGS, Event())
        told = [call.headers for call in there.calls]
    assert [headers.get("x-request-id") for headers in told] == [None, "req_1"]
    assert not any("traceparent" in headers for headers in told)
